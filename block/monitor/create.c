/* SPDX-License-Identifier: GPL-2.0-or-later */
/* blockdev-create: a job that creates an image. */
#include "qemu/osdep.h"
#include <json-c/json.h>
#include "block/block_int.h"
#include "qapi/error.h"
#include "qapi/qapi-commands-block-create.h"
#include "qemu/job.h"
#include "qemu/main-loop.h"
#include "qemu/option.h"

typedef struct BlockdevCreateJob {
    Job common;
    BlockDriver *drv;
    char *filename;
    QOpts *opts;                /* the values of the driver's create_opts */
} BlockdevCreateJob;

static int coroutine_fn create_run(Job *job, Error **errp)
{
    BlockdevCreateJob *s = container_of(job, BlockdevCreateJob, common);
    int ret;

    job_progress_set_remaining(job, 1);
    ret = s->drv->bdrv_co_create_opts(s->drv, s->filename, s->opts, errp);
    job_progress_update(job, 1);
    return ret;
}

static void create_free(Job *job)
{
    BlockdevCreateJob *s = container_of(job, BlockdevCreateJob, common);

    g_free(s->filename);
    qopts_unref(s->opts);
}

static const JobDriver create_driver = {
    .instance_size = sizeof(BlockdevCreateJob),
    .job_type = JOB_TYPE_CREATE,
    .run = create_run,
    .free = create_free,
};

/* The options as the driver takes them, without the file's name. */
static QOpts *create_options(BlockDriver *drv, BlockdevCreateOptions *options,
                             Error **errp)
{
    struct json_object *json = QAPI_TO_JSON(BlockdevCreateOptions, options);
    g_autoptr(QOpts) given = qopts_flatten(json, errp);
    QOpts *taken;

    json_object_put(json);
    if (!given) {
        return NULL;
    }
    qopts_del(given, "driver");
    qopts_del(given, "filename");
    taken = qopts_take_table(drv->create_opts, given, errp);
    if (taken && !qopts_check_empty(given, errp)) {
        qopts_unref(taken);
        taken = NULL;
    }
    return taken;
}

void qmp_blockdev_create(const char *job_id, BlockdevCreateOptions *options,
                         Error **errp)
{
    const char *name = BlockdevDriver_str(options->driver);
    BlockDriver *drv = bdrv_find_format(name);
    BlockdevCreateJob *s;
    QOpts *opts;

    /* The schema has options for those that can only. */
    if (!drv || options->driver != BLOCKDEV_DRIVER_FILE) {
        error_setg(errp, "Driver does not support blockdev-create");
        return;
    }
    opts = create_options(drv, options, errp);
    if (!opts) {
        return;
    }
    s = job_create(job_id, &create_driver, NULL, qemu_get_aio_context(),
                   JOB_DEFAULT | JOB_MANUAL_DISMISS, NULL, NULL, errp);
    if (!s) {
        qopts_unref(opts);
        return;
    }
    s->drv = drv;
    s->filename = g_strdup(options->u.file.filename);
    s->opts = opts;
    job_start(&s->common);
}
