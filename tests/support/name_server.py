"""A name server on loopback, for names that lead to several addresses."""

import socket
import struct
import threading


class Names:
    """A name server on loopback with A records (RFC 1035, 4.1) that a test may change."""

    def __init__(self) -> None:
        self.addresses: dict[str, list[str]] = {}
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._socket.bind(("127.0.0.1", 0))
        self.port = self._socket.getsockname()[1]
        self._thread = threading.Thread(target=self._serve)
        self._thread.start()

    def close(self) -> None:
        self._socket.sendto(b"", self._socket.getsockname())
        self._thread.join()
        self._socket.close()

    def _serve(self) -> None:
        while True:
            query, peer = self._socket.recvfrom(512)
            if not query:
                return
            end, labels = 12, []
            while length := query[end]:
                labels.append(query[end + 1 : end + 1 + length].decode())
                end += 1 + length
            (kind,) = struct.unpack_from("!H", query, end + 1)
            addresses = self.addresses.get(".".join(labels), [])
            records = [
                b"\xc0\x0c" + struct.pack("!HHIH", 1, 1, 0, 4) + socket.inet_aton(address)
                for address in addresses
            ]
            answers = records if kind == 1 else []
            header = query[:2] + struct.pack(
                "!HHHHH", 0x8180 if addresses else 0x8183, 1, len(answers), 0, 0
            )
            self._socket.sendto(header + query[12 : end + 5] + b"".join(answers), peer)
