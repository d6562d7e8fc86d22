/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * qemu-img: how far a command is.
 *
 * With -p the percents are on stdout, each over the one before; without it
 * SIGUSR1 asks for them, once, on stderr.  Main thread.
 *
 * A signal that ends the program at once ends the line, too.
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

/* In any thread. */
static void progress_signalled(int sig)
{
    ssize_t ignored G_GNUC_UNUSED;

    if (qatomic_read(&progress.open)) {
        ignored = write(STDOUT_FILENO, "\n", 1);
    }
    /* The signal is blocked here; it comes when this returns. */
    signal(sig, SIG_DFL);
    raise(sig);
}

/* Signals that are ignored, or that qemu_interrupt_init() handles, stay so. */
static void progress_watch_signals(void)
{
    static const int end_signals[] = { SIGINT, SIGTERM, SIGHUP };
    struct sigaction action = { .sa_handler = progress_signalled };
    struct sigaction old;
    size_t i;

    sigfillset(&action.sa_mask);
    for (i = 0; i < ARRAY_SIZE(end_signals); i++) {
        sigaction(end_signals[i], NULL, &old);
        if (old.sa_handler == SIG_DFL) {
            sigaction(end_signals[i], &action, NULL);
        }
    }
}

void img_progress_begin(bool enabled, float min_step)
{
    struct sigaction action = { .sa_handler = progress_sigusr1 };

    progress.enabled = enabled;
    progress.min_step = min_step;
    progress.current = progress.printed = 0;
    if (enabled) {
        progress_watch_signals();
    } else {
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
    qatomic_set(&progress.open, true);
    printf("    (%3.2f/100%%)\r", percent);
    fflush(stdout);
}

void img_progress_end(void)
{
    if (progress.enabled && progress.open) {
        printf("\n");
        fflush(stdout);
    }
    progress.enabled = false;
    qatomic_set(&progress.open, false);
}
