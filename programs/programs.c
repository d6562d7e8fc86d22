/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The beginning and the end of qemu-img and qemu-io.
 */
#include "qemu/osdep.h"
#include "block/block.h"
#include "qapi/error.h"
#include "qemu/error-report.h"
#include "qemu/interrupt.h"
#include "qemu/main-loop.h"
#include "programs.h"

void program_set_name(const char *argv0)
{
    signal(SIGPIPE, SIG_IGN);
    error_set_progname(argv0);
}

bool program_init(void)
{
    Error *local_err = NULL;

    if (qemu_init_main_loop(&local_err) < 0) {
        error_report_err(local_err);
        return false;
    }
    bdrv_init();
    return true;
}

int program_end(int status)
{
    /* A reader that has gone has what it wanted: "qemu-io ... | head". */
    if (fflush(stdout) != 0 && errno != EPIPE) {
        error_report("Could not write to standard output: %s",
                     strerror(errno));
        status = EXIT_FAILURE;
    }
    bdrv_drain_all();
    qemu_interrupt_disable();
    qemu_interrupt_raise();
    qemu_cleanup_main_loop();
    return status;
}
