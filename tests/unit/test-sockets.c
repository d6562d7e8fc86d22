/* SPDX-License-Identifier: GPL-2.0-or-later */
/* socket_accept() tells a server when it must wait, so that none spins. */
#include "qemu/osdep.h"
#include <fcntl.h>
#include <poll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/un.h>
#include "qapi/error.h"
#include "qemu/sockets.h"

typedef struct {
    char *folder;
    SocketAddress listens_at;
    int listen_fd;
} Server;

static void server_start(Server *s)
{
    s->folder = g_dir_make_tmp("test-sockets.XXXXXX", NULL);
    g_assert_nonnull(s->folder);
    s->listens_at = (SocketAddress) {
        .type = SOCKET_ADDRESS_TYPE_UNIX,
        .u.q_unix.path = g_strdup_printf("%s/socket", s->folder),
    };
    s->listen_fd = socket_listen(&s->listens_at, 8, &error_abort);
}

static void server_stop(Server *s)
{
    close(s->listen_fd);
    socket_unlink(&s->listens_at);
    rmdir(s->folder);
    g_free(s->listens_at.u.q_unix.path);
    g_free(s->folder);
}

static bool is_readable(int fd)
{
    struct pollfd pfd = { .fd = fd, .events = POLLIN };

    return poll(&pfd, 1, 0) == 1;
}

static void test_accept(void)
{
    Server s;
    int client, fd;

    server_start(&s);
    g_assert_cmpint(socket_accept(s.listen_fd), ==, -EAGAIN);
    client = socket_connect(&s.listens_at, &error_abort);
    fd = socket_accept(s.listen_fd);
    g_assert_cmpint(fd, >=, 0);
    g_assert_true(fcntl(fd, F_GETFL) & O_NONBLOCK);
    g_assert_true(fcntl(fd, F_GETFD) & FD_CLOEXEC);
    g_assert_cmpint(socket_accept(s.listen_fd), ==, -EAGAIN);
    close(fd);
    close(client);
    server_stop(&s);
}

/* The connection is still there when descriptors are. */
static void test_no_descriptors(void)
{
    struct rlimit limit, none;
    Server s;
    int client, fd;

    server_start(&s);
    client = socket_connect(&s.listens_at, &error_abort);
    g_assert_cmpint(getrlimit(RLIMIT_NOFILE, &limit), ==, 0);
    none = (struct rlimit) { .rlim_cur = 0, .rlim_max = limit.rlim_max };
    g_assert_cmpint(setrlimit(RLIMIT_NOFILE, &none), ==, 0);
    fd = socket_accept(s.listen_fd);
    g_assert_cmpint(setrlimit(RLIMIT_NOFILE, &limit), ==, 0);
    g_assert_cmpint(fd, ==, -EMFILE);

    g_assert_true(is_readable(s.listen_fd));
    fd = socket_accept(s.listen_fd);
    g_assert_cmpint(fd, >=, 0);
    close(fd);
    close(client);
    server_stop(&s);
}

/* An error that nobody has thought of is not "none is waiting". */
static void test_other_errors(void)
{
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

    g_assert_cmpint(fd, >=, 0);
    g_assert_cmpint(socket_accept(fd), ==, -EINVAL);
    close(fd);
    g_assert_cmpint(socket_accept(-1), ==, -EBADF);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/sockets/accept", test_accept);
    g_test_add_func("/sockets/no-descriptors", test_no_descriptors);
    g_test_add_func("/sockets/other-errors", test_other_errors);
    return g_test_run();
}
