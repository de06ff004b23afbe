use super::*;

fn parse(line: &str) -> CurlLine {
    CurlLine::parse(line, Place::Unseen).unwrap_or_else(|trouble| panic!("{line}: {trouble:?}"))
}

fn file(line: &CurlLine, index: usize) -> (String, Option<String>) {
    let source = &line.sources[index];
    let shown = |path: &PathBuf| path.display().to_string();
    (source.url.to_string(), source.output.as_ref().map(shown))
}

/// As the developer tools of Chromium write it.
const CHROMIUM: &str = r#"curl 'https://files.example/a%20b.iso?sig=x&n=1' \
  -H 'accept: text/html,*/*;q=0.8' \
  -H 'accept-language: en-GB,en;q=0.9' \
  -b $'sid=it\'s; theme=d\u0021' \
  -H 'sec-ch-ua: "Chromium";v="136"' \
  -H $'x-note: caf\u00e9' \
  -H 'user-agent: Mozilla/5.0 (X11; Linux x86_64)' \
  --compressed"#;

/// As those of Firefox.
const FIREFOX: &str = "curl 'http://files.example:8080/film.mkv' --compressed -H 'User-Agent: Mozilla/5.0' \
    -H 'Accept: */*' -H 'Accept-Encoding: gzip, deflate, br, zstd' -H 'Range: bytes=0-' -H 'Connection: keep-alive' \
    -H 'Host: files.example:8080' -H 'If-Range: \"x\"' -H 'TE: trailers' -H 'Cookie: a=b' -X GET";

#[test]
fn what_browsers_copy_is_understood() {
    let line = parse(CHROMIUM);
    assert_eq!(file(&line, 0), ("https://files.example/a%20b.iso?sig=x&n=1".to_owned(), None));
    assert_eq!(
        line.headers,
        [
            "accept: text/html,*/*;q=0.8",
            "accept-language: en-GB,en;q=0.9",
            "sec-ch-ua: \"Chromium\";v=\"136\"",
            "x-note: café",
            "user-agent: Mozilla/5.0 (X11; Linux x86_64)",
            "Cookie: sid=it's; theme=d!",
        ]
    );
    let line = parse(FIREFOX);
    assert_eq!(file(&line, 0), ("http://files.example:8080/film.mkv".to_owned(), None));
    assert_eq!(line.headers, ["User-Agent: Mozilla/5.0", "Accept: */*", "Cookie: a=b"]);
}

#[test]
fn addresses_and_files_go_together_in_their_order() {
    let pair = |url: &str, output: Option<&str>| (url.to_owned(), output.map(str::to_owned));
    for (line, expected) in [
        ("curl http://h/a", vec![pair("http://h/a", None)]),
        ("/usr/bin/curl h/a", vec![pair("http://h/a", None)]),
        ("curl FTP.h/a --url ftp://h/b", vec![pair("ftp://ftp.h/a", None), pair("ftp://h/b", None)]),
        ("curl --proto-default https h/a", vec![pair("https://h/a", None)]),
        ("curl 'h/a?u=ftp://x/'", vec![pair("http://h/a?u=ftp://x/", None)]),
        ("curl -sSLo out http://h/a", vec![pair("http://h/a", Some("out"))]),
        ("curl -sSLoout http://h/a", vec![pair("http://h/a", Some("out"))]),
        ("curl --output=out -- http://h/a", vec![pair("http://h/a", Some("out"))]),
        ("curl -OL http://h/x/a%20b?c=d", vec![pair("http://h/x/a%20b?c=d", Some("a%20b"))]),
        ("curl -O http://h/", vec![pair("http://h/", None)]),
        ("curl -OJ http://h/a", vec![pair("http://h/a", None)]),
        (
            "curl -o b -O http://h/a http://h/c",
            vec![pair("http://h/a", Some("b")), pair("http://h/c", Some("c"))],
        ),
        (
            "curl --remote-name-all -o b http://h/a http://h/c",
            vec![pair("http://h/a", Some("b")), pair("http://h/c", Some("c"))],
        ),
        ("curl -g 'http://h/a[1-2]'", vec![pair("http://h/a[1-2]", None)]),
        ("curl 'http://[::1]:80/a\\[1\\]'", vec![pair("http://[::1]/a[1]", None)]),
    ] {
        let line_read = parse(line);
        let found: Vec<_> = (0..line_read.sources.len()).map(|index| file(&line_read, index)).collect();
        assert_eq!(found, expected, "{line}");
    }
    let line = parse("curl --create-dirs -o a/b/c --output-dir d http://h/");
    assert_eq!(line.sources[0].folder.as_deref(), Some(Path::new("a/b")));
    assert_eq!((file(&line, 0).1.as_deref(), line.folder.as_deref()), (Some("c"), Some(Path::new("d"))));
}

#[test]
fn headers_have_curls_order_of_precedence() {
    for (options, headers) in [
        ("-H 'A:b' -H 'Empty;' -H 'Accept:' -H @file", &["A: b", "Empty: ", "@file"][..]),
        ("-A one -A two -e from", &["User-Agent: two", "Referer: from"]),
        ("-A one -H 'user-agent: mine' -A ''", &["user-agent: mine"]),
        ("-A one -H 'User-Agent:'", &[]),
        ("-e 'http://a/;auto'", &["Referer: http://a/"]),
        ("-b a=b -b 'c=d; e=f'", &["Cookie: a=b; c=d; e=f"]),
        ("-b a=b -H 'Cookie: x=y'", &["Cookie: x=y"]),
        ("--oauth2-bearer tok", &["Authorization: Bearer tok"]),
        ("--oauth2-bearer tok -H 'authorization: Basic x'", &["authorization: Basic x"]),
        ("-H 'Host: H'", &[]),
    ] {
        assert_eq!(parse(&format!("curl {options} http://h/")).headers, headers, "{options}");
    }
}

#[test]
fn who_and_by_which_way() {
    let user = |name: &str, password: Option<&str>| {
        Some(User { name: name.to_owned(), password: password.map(Secret::new) })
    };
    assert_eq!(parse("curl -u 'ann:a:b' --basic http://h/").user, user("ann", Some("a:b")));
    assert_eq!(parse("curl -u ann --digest https://h/").user, user("ann", None));
    let line = parse("curl http://eve:x@h/a -u ann: -n");
    assert_eq!(
        (line.user, line.sources[0].credential.clone(), line.netrc),
        (user("ann", Some("")), None, None)
    );
    let line = parse("curl http://eve:x@h/a");
    assert_eq!(line.sources[0].credential.as_ref().unwrap().user, "eve");
    assert_eq!(parse("curl -n h").netrc, Some(NetrcPlace::Usual));
    assert_eq!(parse("curl -n --netrc-file f h").netrc, Some(NetrcPlace::File("f".into())));
    for (options, proxy, proxy_user) in [
        ("-x p:1", Some("p:1"), None),
        ("-x ''", Some("none"), None),
        ("--socks5 p:1", Some("socks5://p:1"), None),
        ("--socks5-hostname p", Some("socks5h://p"), None),
        ("-x http://bob:a%40b@p:1", Some("http://p:1"), user("bob", Some("a@b"))),
        ("-x bob:c@p -U ann:b --proxy-digest", Some("p"), user("ann", Some("b"))),
        ("", None, None),
    ] {
        let line = parse(&format!("curl {options} h"));
        assert_eq!((line.proxy.as_deref(), line.proxy_user), (proxy, proxy_user), "{options}");
    }
    let line = parse("curl --noproxy a,.b --interface if!eth0 --limit-rate 500k --no-clobber h");
    assert_eq!(line.noproxy.unwrap(), ["a", ".b"]);
    assert_eq!((line.interface.as_deref(), line.rate_limit), (Some("eth0"), Some(512_000)));
    assert_eq!(line.if_exists, Some(IfExists::Rename));
    let line = parse("curl --limit-rate 0 --clobber h");
    assert_eq!((line.rate_limit, line.if_exists), (None, Some(IfExists::Replace)));
}

#[test]
fn what_is_so_in_any_case_says_nothing() {
    let line = parse(
        "curl -fsSLv#NZq1 -C - --compressed --retry 3 --retry-delay 1 --retry-max-time=9 --retry-all-errors --progress-bar \
         --no-progress-meter --no-keepalive --http1.1 --tlsv1.2 --proto =https --proto-redir -all,https --max-redirs 5 \
         --anyauth -X GET --remove-on-error https://h/a",
    );
    assert_eq!(line.sources.len(), 1);
    assert!(line.headers.is_empty() && line.user.is_none() && line.proxy.is_none());
}

#[test]
fn what_get_does_not_do_is_named_with_what_to_do_instead() {
    for (options, names, advises) in [
        ("-k", "-k (--insecure)", "--ca-certificate"),
        ("-d secret", "-d (--data)", "longhaul put"),
        ("-dsecret", "-d (--data)", "longhaul put"),
        ("--data-raw=secret", "--data-raw", "longhaul put"),
        ("--json secret", "--json", "longhaul put"),
        ("-F a=secret", "-F (--form)", "put -F"),
        ("-T secret", "-T (--upload-file)", "longhaul put FILE URL"),
        ("-sI", "-I (--head)", "longhaul show"),
        ("-r 0-9", "-r (--range)", "longhaul cat"),
        ("-H 'Range: bytes=1-'", "-H (--header)", "longhaul cat"),
        ("-X POST", "-X (--request)", "longhaul put -X"),
        ("-XHEAD", "-X (--request)", "longhaul put -X"),
        ("--location-trusted", "--location-trusted", "-L"),
        ("-K secret", "-K (--config)", "into the line"),
        ("-E secret", "-E (--cert)", "--key FILE"),
        ("-c secret", "-c (--cookie-jar)", "-b NAME=VALUE"),
        ("-b secret", "-b (--cookie)", "-b NAME=VALUE"),
        ("-m 5", "-m (--max-time)", "Leave it out"),
        ("--connect-timeout 5", "--connect-timeout", "Leave it out"),
        ("-: http://h/b", "-: (--next)", "of its own"),
        ("-C 100", "-C (--continue-at)", "-C -"),
        ("--max-redirs 0", "--max-redirs", "Leave it out"),
        ("--limit-rate secret", "--limit-rate", ""),
        ("-o -", "-o (--output)", "longhaul cat"),
        ("-u :secret", "-u (--user)", ""),
        ("-H secret", "-H (--header)", ""),
        ("-H @-", "-H (--header)", "@FILE"),
        ("-H 'Host: secret'", "Host", "into the address"),
        ("--negotiate", "--negotiate", "Digest"),
        ("--tlsv1.3", "--tlsv1.3", "TLS 1.2"),
        ("-u ann:secret --digest", "--digest", "https"),
        ("-n --digest", "--digest", "https"),
        ("--proto =https", "--proto", "=https"),
        ("--colour=secret", "--colour of curl", "Leave it out"),
        ("-sW", "-W of curl", "Leave it out"),
        ("--silent=secret", "-s (--silent)", ""),
        ("-o a -o secret", "-o", ""),
        ("-o", "-o (--output)", ""),
        ("sftp://secret/", "sftp", "ftps"),
        ("'http://secret:port/'", "address 2", ""),
        ("'http://h/{secret}'", "address 2", "-g"),
        ("'http://h/[1-3]?secret'", "address 2", "-g"),
    ] {
        let trouble = CurlLine::parse(&format!("curl http://h/a {options}"), Place::Unseen).unwrap_err();
        let advice = trouble.advice.clone().unwrap_or_default();
        assert!(trouble.message.contains(names), "{options}: {trouble}");
        assert!(advice.contains(advises), "{options}: {advice}");
        assert!(!format!("{trouble:?}").contains("secret"), "{trouble:?}");
    }
    for (line, says) in [
        ("", "is empty"),
        ("wget http://h/", "does not begin with the word curl"),
        ("curl -s", "no address"),
        ("A=secret curl h", "does not begin"),
    ] {
        let trouble = CurlLine::parse(line, Place::Unseen).unwrap_err();
        assert!(trouble.message.contains(says) && !trouble.message.contains("secret"), "{line}: {trouble}");
    }
}

#[test]
fn passwords_are_taken_only_where_others_cannot_read_them() {
    for line in [
        "curl -u ann:secret h",
        "curl http://ann:secret@h/",
        "curl -x http://ann:secret@p h",
        "curl -U ann:secret -x p h",
    ] {
        let trouble = CurlLine::parse(line, Place::CommandLine).unwrap_err();
        assert!(trouble.message.contains("for everybody to read"), "{line}: {trouble}");
        assert!(!format!("{trouble:?}").contains("secret"));
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), format!("#!/bin/sh\n{line}\n")).unwrap();
        assert_eq!(CurlLine::read(&format!("@{}", file.path().display())).unwrap().sources.len(), 1);
    }
    assert!(CurlLine::parse("curl -u ann -x bob@p -H 'A: b' h", Place::CommandLine).is_ok());
    assert_eq!(CurlLine::read("@/nowhere/at-all").unwrap_err().exit, crate::Exit::LocalFile);
}
