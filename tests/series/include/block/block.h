/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Only what the series may use: request flags. */
#ifndef SERIES_BLOCK_BLOCK_H
#define SERIES_BLOCK_BLOCK_H

typedef enum {
    BDRV_REQ_FUA = 0x10,
} BdrvRequestFlags;

#endif
