/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * socket_accept() tells a server when it must wait, so that none spins; and TCP
 * sockets have the options that their address says.
 */
#include "qemu/osdep.h"
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
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

static void check_option(int fd, int level, int name, int want)
{
    int got = -1;
    socklen_t len = sizeof(got);

    g_assert_cmpint(getsockopt(fd, level, name, &got, &len), ==, 0);
    g_assert_cmpint(got, ==, want);
}

static void check_keep_alive(int fd, bool on)
{
    check_option(fd, SOL_SOCKET, SO_KEEPALIVE, on);
    if (on) {
        check_option(fd, IPPROTO_TCP, TCP_KEEPCNT, 5);
        check_option(fd, IPPROTO_TCP, TCP_KEEPIDLE, 77);
        check_option(fd, IPPROTO_TCP, TCP_KEEPINTVL, 11);
    }
}

static SocketAddress tcp_address(const char *port, bool keep_alive)
{
    return (SocketAddress) {
        .type = SOCKET_ADDRESS_TYPE_INET,
        .u.inet = {
            .host = (char *)"127.0.0.1", .port = (char *)port,
            .has_keep_alive = true, .keep_alive = keep_alive,
            .has_keep_alive_count = true, .keep_alive_count = 5,
            .has_keep_alive_idle = true, .keep_alive_idle = 77,
            .has_keep_alive_interval = true, .keep_alive_interval = 11,
        },
    };
}

/* On both ends, each of which has an address of its own. */
static void test_keep_alive(void)
{
    int turn;

    for (turn = 0; turn < 4; turn++) {
        bool server_on = turn & 1, client_on = turn & 2;
        SocketAddress server = tcp_address("0", server_on), client;
        g_autofree char *port = NULL;
        struct sockaddr_in in;
        socklen_t len = sizeof(in);
        int listen_fd = socket_listen(&server, 8, &error_abort);
        int client_fd, fd;

        g_assert_cmpint(getsockname(listen_fd, (struct sockaddr *)&in, &len),
                        ==, 0);
        port = g_strdup_printf("%d", ntohs(in.sin_port));
        client = tcp_address(port, client_on);
        client_fd = socket_connect(&client, &error_abort);
        g_assert_true(is_readable(listen_fd));
        fd = socket_accept(listen_fd);
        check_keep_alive(fd, server_on);
        check_keep_alive(client_fd, client_on);
        close(fd);
        close(client_fd);
        close(listen_fd);
    }
}

static void test_bad_keep_alive(void)
{
    SocketAddress addr = tcp_address("0", true);
    Error *err = NULL;

    addr.u.inet.keep_alive_count = 1000000;
    g_assert_cmpint(socket_listen(&addr, 8, &err), <, 0);
    g_assert_cmpstr(error_get_pretty(err), ==, "Unable to set keep-alive-count "
                    "option on socket: Invalid argument");
    error_free_or_abort(&err);
}

/* Another server, which has more clients than it accepts, keeps its socket. */
static void test_busy_server(void)
{
    int fds[64], n = 0;
    Server s;
    Error *err = NULL;

    server_start(&s);
    do {
        struct sockaddr_un un = { .sun_family = AF_UNIX };

        g_assert_cmpint(n, <, ARRAY_SIZE(fds));
        g_strlcpy(un.sun_path, s.listens_at.u.q_unix.path,
                  sizeof(un.sun_path));
        fds[n] = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0);
        g_assert_cmpint(fds[n], >=, 0);
        if (connect(fds[n++], (struct sockaddr *)&un, sizeof(un)) < 0) {
            g_assert_cmpint(errno, ==, EAGAIN);
            break;
        }
    } while (true);
    /* It does not wait for that server. */
    g_assert_cmpint(socket_listen(&s.listens_at, 8, &err), <, 0);
    g_assert_nonnull(strstr(error_get_pretty(err), "Address already in use"));
    error_free_or_abort(&err);
    while (n) {
        close(fds[--n]);
    }
    server_stop(&s);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/sockets/accept", test_accept);
    g_test_add_func("/sockets/no-descriptors", test_no_descriptors);
    g_test_add_func("/sockets/other-errors", test_other_errors);
    g_test_add_func("/sockets/busy-server", test_busy_server);
    g_test_add_func("/sockets/keep-alive", test_keep_alive);
    g_test_add_func("/sockets/bad-keep-alive", test_bad_keep_alive);
    return g_test_run();
}
