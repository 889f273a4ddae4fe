//! Connections without sockets: the same HTTP, the same routes.

use std::{future::pending, sync::Arc};

use tokio::io::{AsyncReadExt, AsyncWriteExt, duplex, split};

use super::{
    Running,
    connections::{Answering, converse, http},
    listeners::of_aws,
    router,
};
use crate::fuzzing::Door;

/// Bytes that are on their way.
const ON_THE_WAY: usize = 64 << 10;

/// What is answered over one connection to whoever sends these bytes and then no more.
pub(crate) async fn exchange(running: &Arc<Running>, door: Door, sent: &[u8]) -> Vec<u8> {
    let router = match door {
        Door::Control => router(Arc::clone(running)),
        Door::Port => of_aws(Arc::clone(running)),
    };
    let mut http = http();
    // A daemon does not answer who has gone. Here nobody has, and all that was sent is answered.
    http.half_close(true);
    let (near, far) = duplex(ON_THE_WAY);
    let (mut reader, mut writer) = split(far);
    let send = async {
        // Who is refused early finds nobody to read the rest.
        let _ = writer.write_all(sent).await;
        let _ = writer.shutdown().await;
    };
    let receive = async {
        let mut received = Vec::new();
        let _ = reader.read_to_end(&mut received).await;
        received
    };
    let serve = converse(http, near, router, Answering::new(&Arc::default()), pending());
    let ((), received, ()) = tokio::join!(send, receive, serve);
    received
}
