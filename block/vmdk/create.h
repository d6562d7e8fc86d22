/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Private to the creation of VMDK images.  All functions run in the main
 * thread outside coroutines and return 0, or -errno with @errp set.
 */
#ifndef BLOCK_VMDK_CREATE_H
#define BLOCK_VMDK_CREATE_H

#include "block/vmdk/vmdk.h"

/* 2 GiB: the largest extent of the "twoGbMaxExtent" formats. */
#define VMDK_SPLIT_SECTORS ((uint64_t)(2 * GiB) >> BDRV_SECTOR_BITS)

/* The image to create; strings belong to the options unless told otherwise. */
typedef struct VmdkCreate {
    const char *subformat;
    const char *adapter;
    const char *hwversion;
    const char *toolsversion;
    const char *backing;        /* NULL: none */
    uint32_t parent_cid;
    uint64_t sectors;
    bool flat;
    bool split;
    bool compressed;
    bool zeroed_grain;
    char *dir;                  /* own; "" or with its '/' */
    char *stem;                 /* own */
    const char *ext;            /* "" or with its '.' */
    GString *lines;             /* extent lines so far */
    QOpts *file_opts;           /* those of each file, but its size */
} VmdkCreate;

int vmdk_create_flat(const VmdkCreate *c, const char *path, uint64_t sectors,
                     Error **errp);
/* An empty sparse extent; @text is its embedded descriptor, or NULL. */
int vmdk_create_sparse(const VmdkCreate *c, const char *path,
                       uint64_t sectors, const char *text, Error **errp);
/* A descriptor of its own. */
int vmdk_create_text(const VmdkCreate *c, const char *path, const char *text,
                     Error **errp);

#endif
