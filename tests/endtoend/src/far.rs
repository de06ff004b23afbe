//! A server at the other end of a cable, in a network namespace of its own.

use std::net::SocketAddr;

use longhaul_lab::netns::Cable;
use longhaul_lab::{Content, Resource, Server};

/// Serves one file at a pace; the service under test belongs at the left end of the cable.
pub struct Far {
    server: Option<Server>,
    pub cable: Cable,
    pub content: Content,
}

impl Drop for Far {
    fn drop(&mut self) {
        // A server ends by a connection to itself, which only its own namespace can make.
        let server = self.server.take();
        self.cable.on_right(move || drop(server));
    }
}

impl Far {
    /// `size` in bytes, `pace` in bytes per second.
    ///
    /// # Panics
    /// The caller may not make namespaces.
    #[must_use]
    pub fn new(size: u64, pace: u64) -> Self {
        Self::at(Cable::new(), Cable::RIGHT_ADDRESS, size, pace)
    }

    /// The same with the server at another address of the right end.
    ///
    /// # Panics
    /// The caller may not make namespaces, or there is no such address.
    #[must_use]
    pub fn at(cable: Cable, address: &str, size: u64, pace: u64) -> Self {
        cable.left_ip(&format!("route add default via {}", Cable::RIGHT_ADDRESS));
        let content = Content::new(1, size);
        let server = cable.on_right(|| {
            let address: SocketAddr = format!("{address}:0").parse().expect("an address");
            Server::build()
                .at(address)
                .pace(pace)
                .start(move |exchange| exchange.respond(Resource::new(content).answer(&exchange.request)))
        });
        Self { server: Some(server), cable, content }
    }

    /// # Panics
    /// Never: it runs until it is dropped.
    #[must_use]
    pub fn server(&self) -> &Server {
        self.server.as_ref().expect("it runs until it is dropped")
    }

    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.server().address()
    }
}
