//! Uploads by proxies.

use longhaul_contract::{Credential, Secret, WebErrorStatus};
use longhaul_lab::Content;
use longhaul_lab::proxies::{ProxyKind, RealProxy};
use longhaul_lab::servers::{DIGEST, PASSWORD, ServerKind, UPLOADS, USER, WebServer};
use longhaul_transfer::{ProxyAddress, ProxyRules, Settings, UploadJob, UploadProtocol};

use crate::support::{World, settings};

const CONTENT: Content = Content::new(91, 5_000_000);

#[test]
fn a_put_reaches_apache_by_squid_that_wants_to_know_us_and_by_dante() {
    let server = WebServer::start(ServerKind::Apache);
    let world = World::with(Settings { ca_certificates: vec![server.root_certificate()], ..settings() });
    let ann = Credential { user: USER.to_owned(), password: Secret::new(PASSWORD) };
    for kind in [ProxyKind::SquidDigest, ProxyKind::Dante] {
        let proxy = RealProxy::start(kind);
        let rules = ProxyRules::all(ProxyAddress::parse(&proxy.url()).unwrap());
        for folder in [UPLOADS, DIGEST] {
            let path = format!("/{folder}/f.bin");
            for url in [server.url(&path), server.https_url(&path)] {
                let job = UploadJob {
                    protocol: UploadProtocol::Auto,
                    credential: (folder == DIGEST).then(|| ann.clone()),
                    proxy: rules.clone().with_credential(&ann),
                    ..world.job(&url, CONTENT)
                };
                world.run(&job).receipt();
                let file = server.root().join(folder).join("f.bin");
                CONTENT.assert_file(&file);
                std::fs::remove_file(file).unwrap();
            }
        }
        if kind == ProxyKind::SquidDigest {
            let job = UploadJob { proxy: rules, ..world.job(&server.url("/uploads/f.bin"), CONTENT) };
            let outcome = world.run(&job);
            let failure = outcome.failure();
            assert_eq!(failure.web_error_status, WebErrorStatus::ProxyAuthenticationRequired);
        }
    }
}
