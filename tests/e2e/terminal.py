# SPDX-License-Identifier: GPL-2.0-or-later
"""A program on a pseudo-terminal: type keys, see what it shows."""
import fcntl
import os
import pty
import select
import signal
import struct
import termios
import time

LIMIT = 20                      # seconds for anything to show up


class Terminal:
    """@argv on a terminal of its own; what it showed is in self.shown."""

    def __init__(self, argv, columns=80):
        self.shown = ''
        self.ready = False
        self.status = None
        master, slave = pty.openpty()
        self.fd = master
        self.slave = slave      # keeps the modes readable at the end
        self.resize(columns)
        self.modes = termios.tcgetattr(slave)
        self.pid = os.fork()
        if self.pid == 0:
            os.setsid()
            fcntl.ioctl(slave, termios.TIOCSCTTY, 0)
            for fd in range(3):
                os.dup2(slave, fd)
            os.closerange(3, 256)
            os.environ['TERM'] = 'xterm'
            os.execv(argv[0], argv)

    def resize(self, columns):
        fcntl.ioctl(self.fd, termios.TIOCSWINSZ,
                    struct.pack('HHHH', 24, columns, 0, 0))

    def type(self, keys):
        os.write(self.fd, keys.encode())

    def read(self, seconds):
        if select.select([self.fd], [], [], seconds)[0]:
            self.shown += os.read(self.fd, 65536).decode(errors='replace')
            return True
        return False

    def wait_for(self, text, start=0):
        """True when @text is among what was shown, from @start on."""
        end = time.monotonic() + LIMIT
        while text not in self.shown[start:]:
            left = end - time.monotonic()
            if left <= 0:
                return False
            self.read(left)
        return True

    def command(self, keys, text):
        """Type @keys; True when @text is shown after that."""
        start = len(self.shown)
        self.type(keys)
        return self.wait_for(text, start)

    def wait_for_mode(self, canonical):
        """Until lines are edited by the terminal (or by the program)."""
        end = time.monotonic() + LIMIT
        while time.monotonic() < end:
            modes = termios.tcgetattr(self.slave)[3]
            if bool(modes & termios.ICANON) == canonical:
                return True
            self.read(0.01)
        return False

    def end(self):
        """The exit status, negative for a signal; None if it does not end."""
        limit = time.monotonic() + LIMIT
        while time.monotonic() < limit:
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            if pid:
                self.status = os.waitstatus_to_exitcode(status)
                while self.read(0):
                    pass
                return self.status
            self.read(0.01)
        os.kill(self.pid, signal.SIGKILL)
        os.waitpid(self.pid, 0)
        return None

    def restored(self):
        """Whether the terminal is as it was before."""
        return termios.tcgetattr(self.slave) == self.modes

    def close(self):
        if self.status is None and self.pid:
            try:
                os.kill(self.pid, signal.SIGKILL)
                os.waitpid(self.pid, 0)
            except (ProcessLookupError, ChildProcessError):
                pass
        os.close(self.fd)
        os.close(self.slave)
