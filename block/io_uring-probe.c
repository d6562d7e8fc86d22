/* SPDX-License-Identifier: GPL-2.0-or-later */
/* io_uring_setup(2): the ring of an engine, and why there is none here. */
#include "qemu/osdep.h"
#include "block/raw-aio.h"
#include "block/io_uring.h"
#include "qapi/error.h"

#include <liburing.h>

/* kernel.io_uring_disabled: 0, 1, 2; -1 if the kernel has no such setting. */
static int disabled_by_sysctl(void)
{
    g_autofree char *text = NULL;

    if (!g_file_get_contents("/proc/sys/kernel/io_uring_disabled", &text,
                             NULL, NULL)) {
        return -1;
    }
    return atoi(text);
}

void luring_explain_setup(int error, Error **errp)
{
    int disabled = disabled_by_sysctl();

    if (error == ENOSYS) {
        error_setg(errp, "this kernel has no io_uring, or a seccomp filter "
                   "hides it");
    } else if (error == EPERM && disabled > 0) {
        error_setg(errp, "io_uring is forbidden by the sysctl "
                   "kernel.io_uring_disabled, which is %d", disabled);
    } else if (error == EPERM) {
        error_setg(errp, "io_uring is forbidden, by a seccomp filter or a "
                   "security module");
    } else if (error == ENOMEM) {
        error_setg(errp, "no memory for io_uring; before Linux 5.12 it counts "
                   "against RLIMIT_MEMLOCK (ulimit -l)");
    } else {
        error_setg_errno(errp, error, "failed to init linux io_uring ring");
    }
}

int luring_init_ring(struct io_uring *ring)
{
    /*
     * One thread submits, and the kernel need not interrupt it: it comes by in
     * each iteration of the event loop.  SUBMIT_ALL: an entry that is refused
     * does not keep the others.
     */
    static const unsigned flags[] = {
        IORING_SETUP_CQSIZE | IORING_SETUP_SUBMIT_ALL |
        IORING_SETUP_COOP_TASKRUN | IORING_SETUP_TASKRUN_FLAG |
        IORING_SETUP_SINGLE_ISSUER,                             /* 6.0 */
        IORING_SETUP_CQSIZE | IORING_SETUP_SUBMIT_ALL,          /* 5.18 */
        IORING_SETUP_CQSIZE,
    };
    int ret = -EINVAL;
    size_t i;

    for (i = 0; i < ARRAY_SIZE(flags) && ret == -EINVAL; i++) {
        struct io_uring_params params = {
            .flags = flags[i], .cq_entries = LURING_MAX_EVENTS,
        };

        ret = io_uring_queue_init_params(LURING_SQ_ENTRIES, ring, &params);
    }
    return ret;
}
