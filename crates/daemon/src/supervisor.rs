//! What workers report: queues that are gone, settings to restore, their own end.

use std::{collections::HashSet, convert::Infallible, sync::Arc, time::Duration};

use tokio::sync::mpsc;
use viaduct_topology::inventory::AttachmentId;

use crate::{error::Error, registry::Registry, worker::Event};

/// The shortest time between two restorations of one queue. Restoring waits for the kernel's RTNL
/// lock, and a hostile guest can cause it with every packet.
const RESTORE_EVERY: Duration = Duration::from_millis(100);

/// Follows the workers' reports until one of the workers fails.
pub(crate) async fn supervise(
    mut events: mpsc::UnboundedReceiver<Event>,
    registry: Arc<Registry>,
) -> Result<Infallible, Error> {
    // Said once for each adoption: whoever forges headers does not write the log.
    let mut told = HashSet::new();
    loop {
        match events.recv().await {
            Some(Event::Gone { attachment, serial }) => {
                told.remove(&serial);
                let registry = Arc::clone(&registry);
                // The registry waits for all workers; the next report need not.
                tokio::spawn(async move { gone(&registry, attachment, serial).await });
            }
            Some(Event::Restore { attachment, serial }) => {
                if told.insert(serial) {
                    let name = name(&registry, attachment);
                    tracing::warn!(name, "headers make no sense; restoring the queue's settings");
                }
                let registry = Arc::clone(&registry);
                tokio::spawn(async move { restore(&registry, attachment, serial).await });
            }
            Some(Event::Failed { worker }) => return Err(Error::WorkerFailed(worker)),
            // The fleet keeps a sender as long as this runs.
            None => std::future::pending().await,
        }
    }
}

async fn gone(registry: &Registry, attachment: AttachmentId, serial: u64) {
    if registry.queue_gone(attachment, serial).await {
        tracing::info!(name = name(registry, attachment), "detached: its queue has no device");
    }
}

async fn restore(registry: &Registry, attachment: AttachmentId, serial: u64) {
    let Some(held) = registry.held(attachment).filter(|held| held.port.serial == serial) else {
        return;
    };
    let port = Arc::clone(&held.port);
    let restored = tokio::task::spawn_blocking(move || {
        let restored = port.queue.restore();
        (port, restored)
    });
    match restored.await {
        Ok((port, Ok(()))) => {
            tokio::time::sleep(RESTORE_EVERY).await;
            port.restored();
        }
        Ok((_, Err(error))) => {
            tracing::warn!(name = name(registry, attachment), %error, "settings not restored");
            registry.queue_gone(attachment, serial).await;
        }
        Err(error) => tracing::error!(%error, "restoring a queue's settings panicked"),
    }
}

fn name(registry: &Registry, attachment: AttachmentId) -> String {
    registry.name(attachment)
}
