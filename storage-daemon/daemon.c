/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The process: in the background, with a file that has its id. */
#include "qemu/osdep.h"
#include <sys/stat.h>
#ifdef CONFIG_LIBSYSTEMD
#include <systemd/sd-daemon.h>
#endif
#include "daemon.h"
#include "qapi/error.h"
#include "qemu/error-report.h"

static int ready_fd = -1;       /* to the parent of a daemon */
static bool is_daemon;
static char *pidfile_path;
static int pidfile_fd = -1;

/* Exit as the child says: it writes one byte, or ends. */
static void G_GNUC_NORETURN wait_for_child(int fd)
{
    char status;
    ssize_t n;

    do {
        n = read(fd, &status, 1);
    } while (n < 0 && errno == EINTR);
    _exit(n == 1 ? EXIT_SUCCESS : EXIT_FAILURE);
}

bool daemonize(Error **errp)
{
    int fds[2];
    pid_t pid;

    if (pipe(fds) < 0) {
        error_setg_errno(errp, errno, "cannot daemonize");
        return false;
    }
    fflush(NULL);
    pid = fork();
    if (pid < 0) {
        error_setg_errno(errp, errno, "cannot daemonize");
        close(fds[0]);
        close(fds[1]);
        return false;
    }
    if (pid > 0) {
        close(fds[1]);
        wait_for_child(fds[0]);
    }
    close(fds[0]);
    ready_fd = fds[1];
    fcntl(ready_fd, F_SETFD, FD_CLOEXEC);
    setsid();
    /* A second child is no leader of a session: it gets no terminal. */
    pid = fork();
    if (pid < 0) {
        error_setg_errno(errp, errno, "cannot daemonize");
        return false;
    }
    if (pid > 0) {
        _exit(EXIT_SUCCESS);
    }
    umask(027);
    is_daemon = true;
    return true;
}

static void leave_terminal(void)
{
    int fd = open("/dev/null", O_RDWR);

    if (chdir("/") < 0) {
        warn_report("cannot change to the root folder: %s", strerror(errno));
    }
    if (fd >= 0) {
        dup2(fd, 0);
        dup2(fd, 1);
        dup2(fd, 2);
        if (fd > 2) {
            close(fd);
        }
    }
}

void daemon_ready(void)
{
    char status = 0;

    if (is_daemon) {
        leave_terminal();
        if (write(ready_fd, &status, 1) != 1) {
            /* The parent was killed; the daemon goes on. */
        }
        close(ready_fd);
        ready_fd = -1;
    }
#ifdef CONFIG_LIBSYSTEMD
    sd_notify(0, "READY=1");
#endif
}

void daemon_stopping(void)
{
#ifdef CONFIG_LIBSYSTEMD
    sd_notify(0, "STOPPING=1");
#endif
}

static int open_and_lock(const char *path, Error **errp)
{
    struct flock lock = { .l_type = F_WRLCK, .l_whence = SEEK_SET };
    int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0644);

    if (fd < 0) {
        error_setg_errno(errp, errno, "Could not create '%s'", path);
        return -1;
    }
    if (fcntl(fd, F_SETLK, &lock) < 0) {
        error_setg_errno(errp, errno, "Could not lock '%s'", path);
        close(fd);
        return -1;
    }
    return fd;
}

bool pidfile_create(const char *path, Error **errp)
{
    g_autofree char *text = g_strdup_printf("%ld\n", (long)getpid());
    ssize_t len = strlen(text);
    int fd = open_and_lock(path, errp);

    if (fd < 0) {
        return false;
    }
    if (ftruncate(fd, 0) < 0 || write(fd, text, len) != len) {
        error_setg_errno(errp, errno, "Could not write to '%s'", path);
        unlink(path);
        close(fd);
        return false;
    }
    pidfile_fd = fd;
    /* A daemon leaves the folder that a relative name is from. */
    pidfile_path = g_canonicalize_filename(path, NULL);
    return true;
}

void pidfile_remove(void)
{
    if (pidfile_fd < 0) {
        return;
    }
    unlink(pidfile_path);
    close(pidfile_fd);
    pidfile_fd = -1;
    g_free(pidfile_path);
    pidfile_path = NULL;
}
