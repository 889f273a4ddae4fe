//! `viaduct lambda-endpoint`: Lambda's API at a service, for interface endpoints.

use std::net::SocketAddr;

use clap::Args;
use viaduct_client::Client;
use viaduct_lab::{LambdaEndpoint as Server, exec, lambda_endpoint::Limits};
use viaduct_tun::netns;

use crate::{
    daemon::Which,
    exit::{Answer, Outcome},
    logging::Logging,
    output,
    signals::{self, Ending},
};

/// What the hosts of services are called.
const HOSTS: &str = "service/";

/// Answer Lambda's API at a service of the topology: what stands behind its interface endpoints
///
/// Listens at the service's own address, where its host is: in a lab, in the namespace that is named,
/// or else where it runs. Passes Lambda's API on to the daemon, for whoever signs, and nothing else.
/// Needs what opens the daemon's control socket. Runs until it is asked to end.
#[derive(Debug, Args)]
pub(crate) struct LambdaEndpoint {
    /// The service as the topology names it, such as com.amazonaws.eu-central-1.lambda
    #[arg(value_name = "SERVICE")]
    service: String,

    /// The port to listen on. There is no TLS, on none of them
    #[arg(long, default_value_t = 80, value_name = "PORT")]
    port: u16,

    /// The network namespace of the service's host: a name, a path or a process id; if none is given, a
    /// lab's own or else this one
    #[arg(long, value_name = "NAMESPACE")]
    netns: Option<String>,

    #[command(flatten)]
    daemon: Which,

    #[command(flatten)]
    logging: Logging,
}

impl LambdaEndpoint {
    pub(crate) fn run(self) -> Outcome {
        self.logging.start()?;
        let host = match self.service.starts_with(HOSTS) {
            true => self.service,
            false => format!("{HOSTS}{}", self.service),
        };
        // This process is then one of those in the namespace, which `lab down` names: a socket alone
        // would keep the namespace, and nobody would see why.
        match (&self.netns, self.daemon.lab()?) {
            (Some(named), _) => netns::resolve(named)?.enter()?,
            (None, Some(lab)) => netns::open(&exec::namespace_of(&lab, &host)?)?.enter()?,
            (None, None) => {}
        }
        let socket = self.daemon.socket()?;
        signals::block_on(async move {
            let mut ending = Ending::catch()?;
            let client = Client::connect(socket).await?;
            let plan = client.plan(&host).await?;
            let address = SocketAddr::new(plan.address, self.port);
            let server = Server::listen(client, address, Limits::default()).await?;
            output::say(format_args!("{host} answers Lambda's API at {}", server.address()?));
            tokio::select! {
                () = server.serve() => {}
                _ = ending.asked() => {}
            }
            Ok(Answer::Yes)
        })
    }
}
