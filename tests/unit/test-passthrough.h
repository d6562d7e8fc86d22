/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * For drivers of tests that stand above a "file": what they do not change.
 */
#ifndef TEST_PASSTHROUGH_H
#define TEST_PASSTHROUGH_H

#include "block/block_int.h"

static int pass_open(BlockDriverState *bs, QOpts *options, int flags,
                     Error **errp)
{
    return bdrv_open_file_child(NULL, options, "file", bs, errp);
}

static int64_t coroutine_fn pass_co_getlength(BlockDriverState *bs)
{
    return bdrv_co_getlength(bs->file->bs);
}

static int coroutine_fn pass_co_preadv_part(BlockDriverState *bs,
                                            int64_t offset, int64_t bytes,
                                            QEMUIOVector *qiov,
                                            size_t qiov_offset,
                                            BdrvRequestFlags flags)
{
    return bdrv_co_preadv_part(bs->file, offset, bytes, qiov, qiov_offset,
                               flags);
}

#endif
