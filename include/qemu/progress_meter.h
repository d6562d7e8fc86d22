/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * How far a job is: done so far, and what is left.  In units of the job's own
 * (bytes, for block jobs).  Any thread.
 */
#ifndef QEMU_PROGRESS_METER_H
#define QEMU_PROGRESS_METER_H

#include "qemu/thread.h"

typedef struct ProgressMeter {
    uint64_t current;           /* under the lock, both */
    uint64_t total;
    QemuSpin lock;
} ProgressMeter;

static inline void progress_init(ProgressMeter *pm)
{
    pm->current = 0;
    pm->total = 0;
    qemu_spin_init(&pm->lock);
}

static inline void progress_destroy(ProgressMeter *pm)
{
    qemu_spin_destroy(&pm->lock);
}

static inline void progress_get_snapshot(ProgressMeter *pm, uint64_t *current,
                                         uint64_t *total)
{
    qemu_spin_lock(&pm->lock);
    *current = pm->current;
    *total = pm->total;
    qemu_spin_unlock(&pm->lock);
}

/* @done more units are done. */
static inline void progress_work_done(ProgressMeter *pm, uint64_t done)
{
    qemu_spin_lock(&pm->lock);
    pm->current += done;
    qemu_spin_unlock(&pm->lock);
}

/* @remaining units are left to do from now on. */
static inline void progress_set_remaining(ProgressMeter *pm,
                                          uint64_t remaining)
{
    qemu_spin_lock(&pm->lock);
    pm->total = pm->current + remaining;
    qemu_spin_unlock(&pm->lock);
}

/* There is more to do than was known. */
static inline void progress_increase_remaining(ProgressMeter *pm,
                                               uint64_t delta)
{
    qemu_spin_lock(&pm->lock);
    pm->total += delta;
    qemu_spin_unlock(&pm->lock);
}

#endif
