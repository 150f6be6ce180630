//! Asks for Elasticsearch: shows that a plugin without the grant is refused when it is loaded, by the name of the
//! capability and of the configuration key.

use donjon_plugin::elasticsearch::{self, Method, Request};
use donjon_plugin::{Command, Description, Error, Exporter, Plugin};

struct Denied;

impl Plugin for Denied {
    fn describe() -> Description {
        Description::new("denied", env!("CARGO_PKG_VERSION"), "Asks for Elasticsearch.")
    }

    fn init(_tenant: &str, _config: &str) -> Result<Self, Error> {
        Ok(Denied)
    }
}

impl Exporter for Denied {
    fn commands(&self) -> Vec<Command> {
        vec![Command {
            name: "ping".into(),
            about: "Asks a server who it is.".into(),
            arguments: "{}".into(),
        }]
    }

    fn run(&mut self, _command: &str, _arguments: &str) -> Result<String, Error> {
        let answer = elasticsearch::send("main", &Request::new(Method::Get, "/"))?;
        Ok(format!("{{\"status\":{}}}", answer.status))
    }
}

donjon_plugin::export!(Denied as exporter);
