/* SPDX-License-Identifier: GPL-2.0-or-later */
/* blockdev-create: a job that creates an image. */
#include "qemu/osdep.h"
#include "block/block_int.h"
#include "qapi/error.h"
#include "qapi/qapi-commands-block-create.h"
#include "qapi/util.h"
#include "qemu/job.h"
#include "qemu/main-loop.h"

typedef struct BlockdevCreateJob {
    Job common;
    BlockDriver *drv;
    BlockdevCreateOptions *options;     /* its own */
} BlockdevCreateJob;

static int coroutine_fn create_run(Job *job, Error **errp)
{
    BlockdevCreateJob *s = container_of(job, BlockdevCreateJob, common);
    int ret;

    job_progress_set_remaining(job, 1);
    ret = s->drv->bdrv_co_create(s->options, errp);
    job_progress_update(job, 1);
    return ret;
}

static void create_free(Job *job)
{
    BlockdevCreateJob *s = container_of(job, BlockdevCreateJob, common);

    qapi_free_BlockdevCreateOptions(s->options);
}

static const JobDriver create_driver = {
    .instance_size = sizeof(BlockdevCreateJob),
    .job_type = JOB_TYPE_CREATE,
    .run = create_run,
    .free = create_free,
};

void qmp_blockdev_create(const char *job_id, BlockdevCreateOptions *options,
                         Error **errp)
{
    BlockDriver *drv = bdrv_find_format(BlockdevDriver_str(options->driver));
    BlockdevCreateJob *s;

    /* The schema has options for those that can only. */
    if (!drv || !drv->bdrv_co_create) {
        error_setg(errp, "Driver does not support blockdev-create");
        return;
    }
    s = job_create(job_id, &create_driver, NULL, qemu_get_aio_context(),
                   JOB_DEFAULT | JOB_MANUAL_DISMISS, NULL, NULL, errp);
    if (!s) {
        return;
    }
    s->drv = drv;
    s->options = QAPI_CLONE(BlockdevCreateOptions, options);
    job_start(&s->common);
}
