"""A loopback proxy that adds a key to every request: for tools that cannot send one themselves."""

import asyncio
import threading

HEAD_BYTES_MAX = 64 * 1024


class KeyProxy:
    """Passes connections to a port of this machine, with an Authorization header added to each request.

    Host stays as the client sent it, so that the server's own check of hosts is what is tested. Every request has a
    connection of its own, which ends with the server's answer or when the client leaves.
    """

    def __init__(self, port: int, key: str) -> None:
        self._port, self._key = port, key
        self._loop = asyncio.new_event_loop()
        self._server = self._loop.run_until_complete(asyncio.start_server(self._serve, "127.0.0.1", 0, limit=HEAD_BYTES_MAX))
        self.port = self._server.sockets[0].getsockname()[1]
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()

    def close(self) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        upstream = None
        try:
            head = await reader.readuntil(b"\r\n\r\n")
            lines = [line for line in head.split(b"\r\n") if line and not line.lower().startswith(b"connection:")]
            lines += [b"Authorization: Bearer " + self._key.encode(), b"Connection: close", b"", b""]
            upstream_reader, upstream = await asyncio.open_connection("127.0.0.1", self._port)
            upstream.write(b"\r\n".join(lines))
            passing = [asyncio.create_task(_pass(reader, upstream)), asyncio.create_task(_pass(upstream_reader, writer))]
            _, rest = await asyncio.wait(passing, return_when=asyncio.FIRST_COMPLETED)
            for task in rest:
                task.cancel()
        except (OSError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()
            if upstream is not None:
                upstream.close()


async def _pass(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Copies until the sender ends; then its other direction has ended too, or nobody waits for it."""
    try:
        while part := await reader.read(64 * 1024):
            writer.write(part)
            await writer.drain()
    except OSError:
        pass
