//! Bodies of requests: read within bounds of length, time and memory, whoever sends them.
//!
//! A body that is too long is read to its end all the same, as far as that is bearable, and thrown
//! away: clients look for an answer when they have sent everything, and find a broken connection if
//! nobody has read it.

use std::time::Duration;

use axum::body::{Body, Bytes, HttpBody};
use http_body_util::BodyExt;
use tokio::sync::{Semaphore, SemaphorePermit};

/// How long a body may take to come.
const PATIENCE: Duration = Duration::from_secs(20);

/// Bytes of a body that always have room, and by how much it is given more.
const PIECE: usize = 1 << 20;

/// Pieces beyond the first for all bodies that are being read at the same time.
static ROOM: Semaphore = Semaphore::const_new(256);

/// Bytes that are thrown away of a body that is too long.
const THROWN_AWAY: usize = 16 << 20;

/// Why there is no body.
#[derive(Debug, thiserror::Error)]
pub(super) enum Unread {
    #[error("the body is too long")]
    TooLong,
    #[error("the body has not come for {PATIENCE:?}")]
    Late,
    #[error("the body ended before its end: {0}")]
    Broken(axum::Error),
    #[error("Rate Exceeded: too much is being sent at the same time")]
    NoRoom,
}

/// Reads a body of less than `limit` bytes.
pub(super) async fn read(body: Body, limit: usize) -> Result<Vec<u8>, Unread> {
    let read = tokio::time::timeout(PATIENCE, read_all(body, limit));
    read.await.unwrap_or(Err(Unread::Late))
}

async fn read_all(mut body: Body, limit: usize) -> Result<Vec<u8>, Unread> {
    let mut bytes = Vec::new();
    let mut room: Option<SemaphorePermit<'static>> = None;
    while let Some(frame) = body.frame().await {
        let Ok(data) = frame.map_err(Unread::Broken)?.into_data() else { continue };
        let length = bytes.len() + data.len();
        if length >= limit {
            drop((bytes, room));
            throw_away(body).await;
            return Err(Unread::TooLong);
        }
        let held = room.as_ref().map_or(0, SemaphorePermit::num_permits);
        if let Some(more @ 1..) = (length / PIECE).checked_sub(held) {
            let more = u32::try_from(more).map_err(|_| Unread::NoRoom)?;
            let more = ROOM.try_acquire_many(more).map_err(|_| Unread::NoRoom)?;
            match &mut room {
                Some(room) => room.merge(more),
                None => room = Some(more),
            }
        }
        bytes.extend_from_slice(&data);
    }
    Ok(bytes)
}

/// Reads what is left of a body, if that is not too much.
async fn throw_away(mut body: Body) {
    let mut left = THROWN_AWAY;
    while !body.is_end_stream()
        && let Some(Ok(frame)) = body.frame().await
    {
        let length = frame.data_ref().map_or(0, Bytes::len);
        match left.checked_sub(length) {
            Some(less) => left = less,
            None => return,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_body_has_less_bytes_than_its_limit() {
        let of = |length: usize| Body::from(vec![b'x'; length]);
        assert_eq!(read(of(9), 10).await.unwrap(), [b'x'; 9]);
        assert!(matches!(read(of(10), 10).await, Err(Unread::TooLong)));
        assert!(matches!(read(of(1000), 10).await, Err(Unread::TooLong)));
        assert_eq!(read(Body::empty(), 10).await.unwrap(), [0; 0]);
    }

    #[tokio::test]
    async fn all_bodies_together_have_so_much_room_and_small_ones_always_have_some() {
        let long = 3 * PIECE;
        let all = ROOM.acquire_many(256).await.unwrap();
        let refused = read(Body::from(vec![0; long]), usize::MAX).await;
        assert!(matches!(refused, Err(Unread::NoRoom)));
        assert_eq!(
            read(Body::from(vec![0; PIECE - 1]), usize::MAX).await.unwrap().len(),
            PIECE - 1
        );
        drop(all);
        assert_eq!(read(Body::from(vec![0; long]), usize::MAX).await.unwrap().len(), long);
        assert_eq!(ROOM.available_permits(), 256, "given back");
    }
}
