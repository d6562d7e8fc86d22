# SPDX-License-Identifier: GPL-2.0-or-later
"""An NBD server at a UNIX socket that is stopped, killed and started again."""

import os
import socket
import subprocess

from qsd import wait_until


class NbdServer:
    """The process; "args" may be changed before it is started again."""

    def __init__(self, path, args, stderr=None):
        self.path = path
        self.args = args
        self.stderr = stderr
        self.process = None
        self.start()

    def start(self):
        """Until it greets its clients."""
        if os.path.exists(self.path):
            os.unlink(self.path)
        self.process = subprocess.Popen(self.args, stderr=self.stderr)
        wait_until('the NBD server does not start', self.greets, 30)

    def greets(self):
        with socket.socket(socket.AF_UNIX) as s:
            try:
                s.connect(self.path)
                return s.recv(8) == b'NBDMAGIC'
            except (FileNotFoundError, ConnectionError):
                return False

    def signal(self, number):
        self.process.send_signal(number)

    def kill(self):
        self.process.kill()
        self.process.wait()
