/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Why there is no io_uring here. */
#include "qemu/osdep.h"
#include "block/raw-aio.h"
#include "block/io_uring.h"
#include "qapi/error.h"

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
