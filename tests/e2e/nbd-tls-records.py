# SPDX-License-Identifier: GPL-2.0-or-later
"""Our NBD client and TLS records that do not begin and end as replies do.

usage: nbd-tls-records.py IO CERTIFICATES

CERTIFICATES has the folders "server" and "alice".  What a record has beyond the
first reply is not in the socket any more: a client that waits for that to
become readable would wait for ever.
"""

import os
import random
import socket
import struct
import subprocess
import sys
import threading

import nbd_tls

IO, CERTIFICATES = sys.argv[1:3]
SIZE = 1 << 20
PATTERN = 0x5a


def replies(requests):
    return b''.join(struct.pack('>IIQ', nbd_tls.REPLY_MAGIC, 0, cookie) +
                    (bytes([PATTERN]) * length if kind == 0 else b'')
                    for kind, cookie, offset, length in requests)


def all_at_once(server, requests):
    """One record, for up to 16 KiB."""
    server.send(replies(requests))


def in_pieces(server, requests):
    """Records that end anywhere, one by one on the wire."""
    data = replies(requests)
    while data:
        n = random.randrange(1, 1500)
        server.send(data[:n])
        data = data[n:]


def pieces_at_once(server, requests):
    """The same, but the socket has many records at a time."""
    data = replies(requests)
    wire = b''
    while data:
        n = random.randrange(1, 700)
        wire += server.encrypt(data[:n])
        data = data[n:]
    server.sock.sendall(wire)


def half_a_record(server, requests):
    """The wire ends in the midst of the records, and goes on later."""
    wire = server.encrypt(replies(requests))
    at = random.randrange(1, len(wire))
    server.sock.sendall(wire[:at])
    server.request(0.05)
    server.sock.sendall(wire[at:])


class Liar:
    """Answers all that has come in, when no more comes, by @answer."""

    def __init__(self, answer):
        self.answer = answer
        self.most = 0           # requests that were answered together
        self.socket = socket.create_server(('127.0.0.1', 0))
        self.port = self.socket.getsockname()[1]
        threading.Thread(target=self.run, daemon=True).start()

    def run(self):
        sock = self.socket.accept()[0]
        sock.settimeout(20)
        try:
            server = nbd_tls.Server(sock, nbd_tls.context(
                os.path.join(CERTIFICATES, 'server'), True), SIZE)
            while True:
                self.serve(server)
        except (EOFError, OSError):
            sock.close()

    def serve(self, server):
        requests = []
        while True:
            request = server.request(0.05 if requests else 20)
            if request is None:
                break
            if request[0] == 2:
                raise EOFError
            if request[0] == 1:
                server.read(request[3])
            requests.append(request)
        self.most = max(self.most, len(requests))
        self.answer(server, requests)


def test(name, answer, length):
    liar = Liar(answer)
    commands = []
    for i in range(3):
        for j in range(8):
            commands += ['-c', 'aio_read -q -P 0x%x %d %d' % (
                PATTERN, (i * 8 + j) * length, length)]
        commands += ['-c', 'aio_write -q 0 512', '-c', 'aio_flush']
    done = subprocess.run(
        [IO, '--object', 'tls-creds-x509,id=tls,endpoint=client,dir=' +
         os.path.join(CERTIFICATES, 'alice'), '--image-opts', *commands,
         'driver=raw,file.driver=nbd,file.host=localhost,file.port=%d,'
         'file.tls-creds=tls' % liar.port],
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT, timeout=30, check=False)
    text = done.stdout.decode()
    ok = done.returncode == 0 and not text and liar.most >= 8
    print('ok' if ok else 'FAIL', 'replies in TLS records:', name)
    if not ok:
        print('    exit status %d, %d at once: %s' % (
            done.returncode, liar.most, text))
    return ok


def main():
    seed = random.randrange(1 << 31)
    random.seed(seed)
    good = True
    for name, answer, length in (
            ('all in one', all_at_once, 512), ('long ones', all_at_once, 9000),
            ('anywhere', in_pieces, 512),
            ('anywhere, at once', pieces_at_once, 2048),
            ('half of one', half_a_record, 1536)):
        try:
            good &= test(name, answer, length)
        except subprocess.TimeoutExpired:
            print('FAIL replies in TLS records: %s: it hangs (seed %d)' % (
                name, seed))
            good = False
    sys.exit(not good)


main()
