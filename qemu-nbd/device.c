/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * qemu-nbd -c and -d: the kernel's NBD client, /dev/nbdX.
 *
 * A thread negotiates with the server of this process and gives the connection
 * to the kernel.  Then it stays in ioctl(NBD_DO_IT) until the device is
 * disconnected: by "qemu-nbd -d", nbd-client(8) or a signal to this process.
 * The main thread must go on with its event loop all the time, for it serves
 * the device.  So all that can wait for the device has a thread of its own.
 *
 * The kernel takes all of the set-up from one thread only.
 */
#include "qemu/osdep.h"
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/sysmacros.h>
#include "block/nbd.h"
#include "qapi/error.h"
#include "qemu-nbd.h"
#include "qemu/atomic.h"
#include "qemu/error-report.h"
#include "qemu/main-loop.h"
#include "qemu/sockets.h"
#include "qemu/thread.h"

/* <linux/nbd.h> has other forms of what block/nbd.h says of the protocol. */
#define NBD_SET_SOCK            _IO(0xab, 0)
#define NBD_SET_BLKSIZE         _IO(0xab, 1)
#define NBD_DO_IT               _IO(0xab, 3)
#define NBD_CLEAR_SOCK          _IO(0xab, 4)
#define NBD_CLEAR_QUE           _IO(0xab, 5)
#define NBD_PRINT_DEBUG         _IO(0xab, 6)
#define NBD_SET_SIZE_BLOCKS     _IO(0xab, 7)
#define NBD_DISCONNECT          _IO(0xab, 8)
#define NBD_SET_FLAGS           _IO(0xab, 10)

#define NBD_MAJOR 43
/* How long the server of this process, and then the kernel, may take. */
#define DEVICE_WAIT_SECONDS 10
#define DEVICE_LOOK_US 10000
#define DEVICE_LOOKS (DEVICE_WAIT_SECONDS * G_USEC_PER_SEC / DEVICE_LOOK_US)

static struct {
    const char *path;
    const SocketAddress *addr;
    const char *export_name;
    int fd;
    QemuThread thread;
    Error *err;                 /* of the thread; read after it was joined */
    int state;                  /* NbdDeviceState; atomic */
} dev = { .fd = -1 };

static void device_set_state(NbdDeviceState state)
{
    qatomic_set(&dev.state, state);
    qemu_notify_event();
}

NbdDeviceState nbd_device_state(void)
{
    return qatomic_read(&dev.state);
}

/* --- the device --- */

/* The task that serves the device; -1: it is not connected. */
static pid_t device_task(int fd)
{
    g_autofree char *path = NULL;
    g_autofree char *text = NULL;
    struct stat st;

    if (fstat(fd, &st) < 0) {
        return -1;
    }
    path = g_strdup_printf("/sys/dev/block/%u:%u/pid", major(st.st_rdev),
                           minor(st.st_rdev));
    return g_file_get_contents(path, &text, NULL, NULL) ? atol(text) : -1;
}

static bool device_is_connected(int fd)
{
    return device_task(fd) >= 0;
}

static int device_open(const char *path, Error **errp)
{
    int fd = open(path, O_RDWR | O_CLOEXEC);
    struct stat st;

    if (fd < 0) {
        error_setg_errno(errp, errno, "Cannot open %s", path);
        if (errno == ENOENT || errno == ENXIO) {
            error_append_hint(errp, "Devices are there when the kernel's "
                              "module is loaded: modprobe nbd\n");
        }
        return -1;
    }
    if (fstat(fd, &st) < 0 || !S_ISBLK(st.st_mode) ||
        major(st.st_rdev) != NBD_MAJOR) {
        error_setg(errp, "%s is not an NBD device (/dev/nbd0, ...)", path);
        close(fd);
        return -1;
    }
    return fd;
}

/* The kernel first writes what its page cache has for the device. */
static void device_disconnect(int fd)
{
    if (device_is_connected(fd) && fsync(fd) < 0) {
        warn_report("the last data written to the device may be lost: %s",
                    strerror(errno));
    }
    ioctl(fd, NBD_DISCONNECT);
}

bool nbd_device_disconnect(const char *path, Error **errp)
{
    int fd = device_open(path, errp);
    pid_t task;
    int i;

    if (fd < 0) {
        return false;
    }
    task = device_task(fd);
    device_disconnect(fd);
    /* The kernel remembers the task for as long as the device is open. */
    for (i = 0; i < DEVICE_LOOKS && task > 0 && device_is_connected(fd) &&
         (kill(task, 0) == 0 || errno != ESRCH); i++) {
        g_usleep(DEVICE_LOOK_US);
    }
    if (task < 0 || i == DEVICE_LOOKS) {
        /* A program that has died, or one that hangs, left these behind. */
        ioctl(fd, NBD_CLEAR_QUE);
        ioctl(fd, NBD_CLEAR_SOCK);
    }
    close(fd);
    return true;
}

/* --- a connection to the server of this process --- */

/* Reads and writes wait for so long; 0: as long as it takes. */
static bool set_socket_wait(int sock, int seconds)
{
    struct timeval tv = { .tv_sec = seconds };

    return fcntl(sock, F_SETFL, 0) == 0 &&
           setsockopt(sock, SOL_SOCKET, SO_RCVTIMEO, &tv, sizeof(tv)) == 0 &&
           setsockopt(sock, SOL_SOCKET, SO_SNDTIMEO, &tv, sizeof(tv)) == 0;
}

/* The answer to NBD_OPT_EXPORT_NAME, which the kernel needs no more than. */
typedef struct {
    uint64_t size;
    uint16_t flags;
} QEMU_PACKED ExportReply;

static bool negotiate(int sock, ExportReply *reply)
{
    uint8_t hello[18];
    size_t len = strlen(dev.export_name);
    struct {
        uint32_t flags;
        NBDOptionHeader option;
    } QEMU_PACKED head = {
        htobe32(NBD_FLAG_FIXED_NEWSTYLE | NBD_FLAG_NO_ZEROES),
        { htobe64(NBD_OPTS_MAGIC), htobe32(NBD_OPT_EXPORT_NAME), htobe32(len) },
    };

    return qemu_read_full(sock, hello, sizeof(hello)) == sizeof(hello) &&
           qemu_write_full(sock, &head, sizeof(head)) == sizeof(head) &&
           qemu_write_full(sock, dev.export_name, len) == (ssize_t)len &&
           qemu_read_full(sock, reply, sizeof(*reply)) == sizeof(*reply);
}

/* A connection that has negotiated the export; -1 with @errp set. */
static int connect_to_server(ExportReply *reply, Error **errp)
{
    int sock = socket_connect(dev.addr, errp);

    if (sock < 0) {
        return -1;
    }
    if (!set_socket_wait(sock, DEVICE_WAIT_SECONDS) ||
        !negotiate(sock, reply) || !set_socket_wait(sock, 0)) {
        error_setg(errp, "Failed to connect %s to the server of this process",
                   dev.path);
        close(sock);
        return -1;
    }
    reply->size = be64toh(reply->size);
    reply->flags = be16toh(reply->flags);
    return sock;
}

/* --- the thread --- */

static bool give_to_kernel(int sock, const ExportReply *reply, Error **errp)
{
    unsigned long flags = reply->flags;
    unsigned long sectors = reply->size / 512;

    if (sectors != reply->size / 512) {
        error_setg(errp, "The image is too large for %s", dev.path);
    } else if (ioctl(dev.fd, NBD_SET_SOCK, (unsigned long)sock) < 0) {
        error_setg_errno(errp, errno, "Failed to set NBD socket of %s",
                         dev.path);
        return false;
    } else if (ioctl(dev.fd, NBD_SET_BLKSIZE, 512ul) < 0 ||
               ioctl(dev.fd, NBD_SET_SIZE_BLOCKS, sectors) < 0) {
        error_setg_errno(errp, errno, "Failed setting size of %s", dev.path);
    } else if (ioctl(dev.fd, NBD_SET_FLAGS, flags) < 0) {
        error_setg_errno(errp, errno, "Failed setting flags of %s", dev.path);
    } else {
        return true;
    }
    ioctl(dev.fd, NBD_CLEAR_SOCK);
    return false;
}

/* The device works when this ends; opening it makes the kernel read it. */
static void *device_first_open(void *opaque)
{
    bool has_sysfs = access("/sys/dev/block", F_OK) == 0;
    int i, fd;

    for (i = 0; i < DEVICE_LOOKS && has_sysfs &&
         !device_is_connected(dev.fd); i++) {
        g_usleep(DEVICE_LOOK_US);
    }
    /*
     * The kernel holds its lock of the device from the first sign of the
     * connection until the last step, which is that the next one who opens the
     * device looks for partitions.  This call does nothing else than to take
     * the lock.
     */
    ioctl(dev.fd, NBD_PRINT_DEBUG);
    fd = open(dev.path, O_RDONLY | O_CLOEXEC);
    if (fd >= 0) {
        close(fd);
    }
    device_set_state(NBD_DEVICE_CONNECTED);
    return NULL;
}

static void use_device(int sock, Error **errp)
{
    QemuThread opener;

    qemu_thread_create(&opener, "nbd-open", device_first_open, NULL,
                       QEMU_THREAD_JOINABLE);
    /* EPIPE: older kernels say so after a disconnect. */
    if (ioctl(dev.fd, NBD_DO_IT) < 0 && errno != EPIPE) {
        error_setg_errno(errp, errno, "%s has failed", dev.path);
    }
    qemu_thread_join(&opener);
    ioctl(dev.fd, NBD_CLEAR_QUE);
    ioctl(dev.fd, NBD_CLEAR_SOCK);
}

static void *device_thread(void *opaque)
{
    ExportReply reply;
    int sock = connect_to_server(&reply, &dev.err);

    if (sock >= 0) {
        if (give_to_kernel(sock, &reply, &dev.err)) {
            use_device(sock, &dev.err);
        }
        close(sock);
    }
    device_set_state(NBD_DEVICE_GONE);
    return NULL;
}

/* --- for the main thread --- */

bool nbd_device_check(const char *path, Error **errp)
{
    int fd = device_open(path, errp);
    bool connected;

    if (fd < 0) {
        return false;
    }
    connected = device_is_connected(fd);
    close(fd);
    if (connected) {
        error_setg(errp, "%s is in use already", path);
        error_append_hint(errp, "qemu-nbd -d %s disconnects it\n", path);
    }
    return !connected;
}

bool nbd_device_start(const char *path, const SocketAddress *addr,
                      const char *export_name, Error **errp)
{
    dev.path = path;
    dev.addr = addr;
    dev.export_name = export_name;
    dev.fd = device_open(path, errp);
    if (dev.fd < 0) {
        return false;
    }
    qemu_thread_create(&dev.thread, "nbd-device", device_thread, NULL,
                       QEMU_THREAD_JOINABLE);
    return true;
}

static void *device_stop_thread(void *opaque)
{
    device_disconnect(dev.fd);
    return NULL;
}

bool nbd_device_end(Error **errp)
{
    QemuThread stop;
    bool connected = nbd_device_state() == NBD_DEVICE_CONNECTED;

    if (dev.fd < 0) {
        return true;
    }
    if (connected) {
        qemu_thread_create(&stop, "nbd-stop", device_stop_thread, NULL,
                           QEMU_THREAD_JOINABLE);
    }
    while (nbd_device_state() != NBD_DEVICE_GONE) {
        main_loop_wait(false);
    }
    if (connected) {
        qemu_thread_join(&stop);
    }
    qemu_thread_join(&dev.thread);
    close(dev.fd);
    dev.fd = -1;
    if (dev.err) {
        error_propagate(errp, dev.err);
        return false;
    }
    return true;
}
