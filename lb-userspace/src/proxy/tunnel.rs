//! What follows `101 Switching Protocols`: bytes both ways, not looked at.

use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt as _};

use super::upstream::Lease;

/// Room for each direction.
const ROOM: usize = 16 * 1024;

/// Carries bytes both ways until both ends have closed. `early` was sent by the client after its
/// request, `late` by the backend after its response.
pub(super) async fn tunnel<S: AsyncRead + AsyncWrite + Unpin>(
    mut client: S,
    mut backend: Lease,
    early: &[u8],
    late: &[u8],
) -> std::io::Result<()> {
    backend.stream.write_all(early).await?;
    client.write_all(late).await?;
    client.flush().await?;
    tokio::io::copy_bidirectional_with_sizes(&mut client, &mut backend.stream, ROOM, ROOM).await?;
    Ok(())
}
