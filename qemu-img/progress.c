/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * qemu-img: how far a command is.
 *
 * With -p the percents are on stdout, each over the one before; without it
 * SIGUSR1 asks for them, once, on stderr.  Main thread.
 */
#include "qemu/osdep.h"
#include "qemu-img.h"
#include "qemu/atomic.h"

static struct {
    bool enabled;
    bool open;                  /* the line has text */
    float min_step;
    float current;
    float printed;
} progress;

/* Set by the signal's handler. */
static int progress_asked;

static void progress_sigusr1(int sig)
{
    qatomic_set(&progress_asked, 1);
}

void img_progress_begin(bool enabled, float min_step)
{
    struct sigaction action = { .sa_handler = progress_sigusr1 };

    progress.enabled = enabled;
    progress.min_step = min_step;
    progress.current = progress.printed = 0;
    if (!enabled) {
        sigfillset(&action.sa_mask);
        action.sa_flags = SA_RESTART;
        sigaction(SIGUSR1, &action, NULL);
    }
    img_progress(0);
}

void img_progress(float percent)
{
    progress.current = percent;
    if (unlikely(qatomic_read(&progress_asked))) {
        qatomic_set(&progress_asked, 0);
        fprintf(stderr, "    (%3.2f/100%%)\n", percent);
    }
    if (!progress.enabled ||
        (progress.open && percent < progress.printed + progress.min_step &&
         percent < 100)) {
        return;
    }
    progress.printed = percent;
    progress.open = true;
    printf("    (%3.2f/100%%)\r", percent);
    fflush(stdout);
}

void img_progress_end(void)
{
    if (progress.enabled && progress.open) {
        printf("\n");
        fflush(stdout);
    }
    progress.enabled = progress.open = false;
}
