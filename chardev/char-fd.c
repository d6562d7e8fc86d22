/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Character devices that are file descriptors: files, stdio, terminals. */
#include "qemu/osdep.h"
#include <poll.h>
#include <pty.h>
#include <sys/stat.h>
#include <termios.h>
#include "chardev.h"
#include "qapi/error.h"
#include "qemu/main-loop.h"
#include "qemu/timer.h"

/* How often a terminal is looked at that nobody has open. */
#define PTY_LOOK_MS 200

static void fds_readable(void *opaque);
static void fds_writable(void *opaque);

static bool is_regular(int fd)
{
    struct stat st;

    return fd >= 0 && fstat(fd, &st) == 0 && S_ISREG(st.st_mode);
}

void char_fds_init(CharFds *fds, Chardev *chr, int in_fd, int out_fd,
                   void (*hup)(Chardev *chr))
{
    *fds = (CharFds) {
        .chr = chr, .in_fd = in_fd, .out_fd = out_fd, .hup = hup,
        .in_regular = is_regular(in_fd), .out_regular = is_regular(out_fd),
    };
    if (fds->in_regular) {
        fds->read_bh = aio_bh_new(qemu_get_aio_context(), fds_readable, fds);
    }
}

/* Tell the event loop what is waited for. */
static void fds_register(CharFds *fds)
{
    bool reading = fds->reading && !fds->in_regular;

    if (fds->in_fd == fds->out_fd) {
        qemu_set_fd_handler(fds->in_fd, reading ? fds_readable : NULL,
                            fds->watching ? fds_writable : NULL, fds);
        return;
    }
    if (fds->in_fd >= 0 && !fds->in_regular) {
        qemu_set_fd_handler(fds->in_fd, reading ? fds_readable : NULL, NULL,
                            fds);
    }
    if (fds->out_fd >= 0 && !fds->out_regular) {
        qemu_set_fd_handler(fds->out_fd, NULL,
                            fds->watching ? fds_writable : NULL, fds);
    }
}

void char_fds_stop(CharFds *fds)
{
    if (!fds->chr) {
        return;
    }
    fds->reading = fds->watching = false;
    fds_register(fds);
    if (fds->read_bh) {
        qemu_bh_delete(fds->read_bh);
        fds->read_bh = NULL;
    }
    fds->chr = NULL;
}

void char_fds_update_read(CharFds *fds)
{
    if (!fds->chr || fds->in_fd < 0) {
        return;
    }
    fds->reading = qemu_chr_be_can_write(fds->chr) > 0;
    fds_register(fds);
    if (fds->reading && fds->in_regular) {
        qemu_bh_schedule(fds->read_bh);
    }
}

void char_fds_want_write(CharFds *fds)
{
    if (!fds->chr || fds->out_fd < 0) {
        return;
    }
    fds->watching = true;
    fds_register(fds);
}

static void fds_writable(void *opaque)
{
    CharFds *fds = opaque;

    fds->watching = false;
    fds_register(fds);
    qemu_chr_be_writable(fds->chr);
}

static void fds_readable(void *opaque)
{
    CharFds *fds = opaque;
    Chardev *chr = fds->chr;
    uint8_t buf[4096];
    size_t want = MIN(qemu_chr_be_can_write(chr), sizeof(buf));
    ssize_t n;

    if (!want) {
        char_fds_update_read(fds);
        return;
    }
    do {
        n = read(fds->in_fd, buf, want);
    } while (n < 0 && errno == EINTR);
    if (n < 0 && errno == EAGAIN) {
        return;
    }
    if (n <= 0) {
        fds->hup(chr);
        return;
    }
    qemu_chr_be_write(chr, buf, n);
    /* The frontend may have closed the device. */
    char_fds_update_read(fds);
}

ssize_t char_fds_write(CharFds *fds, const void *buf, size_t len)
{
    ssize_t n;

    if (!fds->chr || fds->out_fd < 0) {
        return -EPIPE;
    }
    do {
        n = write(fds->out_fd, buf, len);
    } while (n < 0 && errno == EINTR);
    return n < 0 ? -errno : n;
}

/* For kinds whose state is a CharFds and that never open again. */
static void fd_hup(Chardev *chr)
{
    CharFds *fds = chr->opaque;

    fds->reading = false;
    fds_register(fds);
    fds->in_fd = fds->in_fd == fds->out_fd ? fds->in_fd : -1;
    qemu_chr_be_event(chr, CHR_EVENT_CLOSED);
}

static ssize_t fd_write(Chardev *chr, const void *buf, size_t len)
{
    return char_fds_write(chr->opaque, buf, len);
}

static void fd_update_read(Chardev *chr)
{
    char_fds_update_read(chr->opaque);
}

static void fd_want_write(Chardev *chr)
{
    char_fds_want_write(chr->opaque);
}

static int open_file(const char *name, int flags, Error **errp)
{
    int fd = open(name, flags | O_CLOEXEC | O_NONBLOCK | O_NOCTTY, 0666);

    if (fd < 0) {
        error_setg_file_open(errp, errno, name);
    }
    return fd;
}

typedef struct CharFile {
    CharFds fds;
    int in_fd, out_fd;
} CharFile;

static bool file_open(Chardev *chr, ChardevBackend *backend, Error **errp)
{
    ChardevFile *opts = backend->u.file.data;
    bool append = opts->has_append && opts->append;
    CharFile *file;
    int in = -1, out;

    out = open_file(opts->out, O_WRONLY | O_CREAT |
                    (append ? O_APPEND : O_TRUNC), errp);
    if (out < 0) {
        return false;
    }
    if (opts->in) {
        in = open_file(opts->in, O_RDONLY, errp);
        if (in < 0) {
            close(out);
            return false;
        }
    }
    file = g_new0(CharFile, 1);
    file->in_fd = in;
    file->out_fd = out;
    char_fds_init(&file->fds, chr, in, out, fd_hup);
    chr->opaque = file;
    chr->filename = g_strdup("file");
    qemu_chr_be_event(chr, CHR_EVENT_OPENED);
    return true;
}

static void file_close(Chardev *chr)
{
    CharFile *file = chr->opaque;

    char_fds_stop(&file->fds);
    if (file->in_fd >= 0) {
        close(file->in_fd);
    }
    close(file->out_fd);
    g_free(file);
}

const ChardevDriver chardev_file = {
    .kind = CHARDEV_BACKEND_KIND_FILE,
    .open = file_open,
    .close = file_close,
    .write = fd_write,
    .update_read = fd_update_read,
    .want_write = fd_want_write,
};

typedef struct CharStdio {
    CharFds fds;
    int in_flags, out_flags;
    bool is_tty;
    struct termios tty;
} CharStdio;

static bool stdio_in_use;
static bool stdio_forbidden;

void qemu_chr_forbid_stdio(void)
{
    stdio_forbidden = true;
}

/* A terminal without echo and lines; Ctrl-C only ends the program if asked. */
static void stdio_set_raw(CharStdio *stdio, bool signals)
{
    struct termios tty;

    stdio->is_tty = tcgetattr(0, &stdio->tty) == 0;
    if (!stdio->is_tty) {
        return;
    }
    tty = stdio->tty;
    tty.c_iflag &= ~(IGNBRK | BRKINT | PARMRK | ISTRIP | INLCR | IGNCR |
                     ICRNL | IXON);
    tty.c_lflag &= ~(ECHO | ECHONL | ICANON | IEXTEN);
    if (!signals) {
        tty.c_lflag &= ~ISIG;
    }
    tty.c_cc[VMIN] = 1;
    tty.c_cc[VTIME] = 0;
    tcsetattr(0, TCSANOW, &tty);
}

static bool stdio_open(Chardev *chr, ChardevBackend *backend, Error **errp)
{
    ChardevStdio *opts = backend->u.stdio.data;
    CharStdio *stdio;

    if (stdio_forbidden) {
        error_setg(errp, "cannot use stdio with -daemonize");
        return false;
    }
    if (stdio_in_use) {
        error_setg(errp, "cannot use stdio by multiple character devices");
        return false;
    }
    stdio_in_use = true;
    stdio = g_new0(CharStdio, 1);
    stdio->in_flags = fcntl(0, F_GETFL);
    stdio->out_flags = fcntl(1, F_GETFL);
    fcntl(0, F_SETFL, stdio->in_flags | O_NONBLOCK);
    fcntl(1, F_SETFL, stdio->out_flags | O_NONBLOCK);
    stdio_set_raw(stdio, !opts->has_signal || opts->signal);
    char_fds_init(&stdio->fds, chr, 0, 1, fd_hup);
    chr->opaque = stdio;
    chr->filename = g_strdup("stdio");
    qemu_chr_be_event(chr, CHR_EVENT_OPENED);
    return true;
}

static void stdio_close(Chardev *chr)
{
    CharStdio *stdio = chr->opaque;

    char_fds_stop(&stdio->fds);
    if (stdio->is_tty) {
        tcsetattr(0, TCSANOW, &stdio->tty);
    }
    fcntl(0, F_SETFL, stdio->in_flags);
    fcntl(1, F_SETFL, stdio->out_flags);
    stdio_in_use = false;
    g_free(stdio);
}

const ChardevDriver chardev_stdio = {
    .kind = CHARDEV_BACKEND_KIND_STDIO,
    .open = stdio_open,
    .close = stdio_close,
    .write = fd_write,
    .update_read = fd_update_read,
    .want_write = fd_want_write,
};

/* The terminal is open as long as a program has its other side open. */
typedef struct CharPty {
    CharFds fds;
    Chardev *chr;
    int fd;
    QEMUTimer *timer;
    char *link;
} CharPty;

static void pty_look(void *opaque)
{
    CharPty *pty = opaque;
    struct pollfd pfd = { .fd = pty->fd, .events = POLLOUT };

    if (poll(&pfd, 1, 0) >= 0 && !(pfd.revents & POLLHUP)) {
        char_fds_init(&pty->fds, pty->chr, pty->fd, pty->fd, pty->fds.hup);
        qemu_chr_be_event(pty->chr, CHR_EVENT_OPENED);
        char_fds_update_read(&pty->fds);
        return;
    }
    timer_mod(pty->timer, qemu_clock_get_ns(QEMU_CLOCK_REALTIME) / SCALE_MS +
              PTY_LOOK_MS);
}

static void pty_hup(Chardev *chr)
{
    CharPty *pty = chr->opaque;

    char_fds_stop(&pty->fds);
    qemu_chr_be_event(chr, CHR_EVENT_CLOSED);
    timer_mod(pty->timer, qemu_clock_get_ns(QEMU_CLOCK_REALTIME) / SCALE_MS +
              PTY_LOOK_MS);
}

static bool pty_open(Chardev *chr, ChardevBackend *backend, Error **errp)
{
    ChardevPty *opts = backend->u.pty.data;
    char name[PATH_MAX];
    struct termios tty;
    CharPty *pty;
    int fd, slave;

    if (openpty(&fd, &slave, name, NULL, NULL) < 0) {
        error_setg_errno(errp, errno, "Failed to create PTY");
        return false;
    }
    tcgetattr(slave, &tty);
    cfmakeraw(&tty);
    tcsetattr(slave, TCSAFLUSH, &tty);
    close(slave);
    fcntl(fd, F_SETFD, FD_CLOEXEC);
    fcntl(fd, F_SETFL, O_NONBLOCK);
    if (opts->path && symlink(name, opts->path) < 0) {
        error_setg_errno(errp, errno, "Failed to create PTY symlink '%s'",
                         opts->path);
        close(fd);
        return false;
    }
    pty = g_new0(CharPty, 1);
    pty->chr = chr;
    pty->fd = fd;
    pty->fds.hup = pty_hup;
    pty->link = g_strdup(opts->path);
    pty->timer = aio_timer_new(qemu_get_aio_context(), QEMU_CLOCK_REALTIME,
                               SCALE_MS, pty_look, pty);
    chr->opaque = pty;
    chr->filename = g_strdup_printf("pty:%s", name);
    pty_look(pty);
    return true;
}

static void pty_close(Chardev *chr)
{
    CharPty *pty = chr->opaque;

    char_fds_stop(&pty->fds);
    timer_free(pty->timer);
    close(pty->fd);
    if (pty->link) {
        unlink(pty->link);
    }
    g_free(pty->link);
    g_free(pty);
}

static ssize_t pty_write(Chardev *chr, const void *buf, size_t len)
{
    CharPty *pty = chr->opaque;

    return char_fds_write(&pty->fds, buf, len);
}

static void pty_update_read(Chardev *chr)
{
    CharPty *pty = chr->opaque;

    char_fds_update_read(&pty->fds);
}

static void pty_want_write(Chardev *chr)
{
    CharPty *pty = chr->opaque;

    char_fds_want_write(&pty->fds);
}

const ChardevDriver chardev_pty = {
    .kind = CHARDEV_BACKEND_KIND_PTY,
    .open = pty_open,
    .close = pty_close,
    .write = pty_write,
    .update_read = pty_update_read,
    .want_write = pty_want_write,
};
