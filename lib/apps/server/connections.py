"""Connections that are not kept for nothing: a client that does not say what it wants is hung up on.

uvicorn waits for a request's head for ever. Bodies have a limit of their own, in auth.py.
"""

from __future__ import annotations

from uvicorn.protocols.http.auto import AutoHTTPProtocol


def make_protocol(head_s):
    """What uvicorn takes as `http`: its own protocol, which hangs up where a head takes longer than head_s seconds."""

    class Connection(AutoHTTPProtocol):
        """`cycle` is uvicorn's: the request whose head came last, or None."""

        hanging_up = None

        def connection_made(self, transport):
            super().connection_made(transport)
            self._begin_to_wait()

        def data_received(self, data):
            before = self.cycle
            super().data_received(data)
            if self.cycle is not before:
                self._stop_waiting()
            elif self.hanging_up is None and self._is_idle():
                self._begin_to_wait()

        def connection_lost(self, exc):
            self._stop_waiting()
            super().connection_lost(exc)

        def _is_idle(self):
            return self.cycle is None or self.cycle.response_complete

        def _begin_to_wait(self):
            self.hanging_up = self.loop.call_later(head_s, self._hang_up)

        def _stop_waiting(self):
            if self.hanging_up is not None:
                self.hanging_up.cancel()
                self.hanging_up = None

        def _hang_up(self):
            self.hanging_up = None
            if self._is_idle():
                self.transport.close()

    return Connection
