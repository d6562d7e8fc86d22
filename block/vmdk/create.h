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

/* The defaults of a new image. */
#define VMDK_CREATE_HWVERSION "4"
#define VMDK_CREATE_TOOLSVERSION "2147483647"

/* The image to create; strings belong to the options unless told otherwise. */
typedef struct VmdkCreate {
    const char *subformat;
    const char *adapter;
    const char *hwversion;
    const char *toolsversion;
    const char *backing;        /* NULL: none */
    BlockDriverState *parent;   /* while the files are made; or NULL */
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
    GPtrArray *made;            /* own; files that were not there before */
    QOpts *file_opts;           /* those of each file, but its size */
    /*
     * The nodes that take the image: its own file, then the extents, where
     * those have files of their own.  NULL: files are made by their names.
     */
    GPtrArray *nodes;
} VmdkCreate;

/* Take the name of a format, or of an adapter.  False: there is no such. */
bool vmdk_create_take_subformat(VmdkCreate *c, const char *name,
                                Error **errp);
bool vmdk_create_take_adapter(VmdkCreate *c, const char *name, Error **errp);
/* Whether what @c has goes together, and can be written down. */
bool vmdk_create_check(const VmdkCreate *c, Error **errp);
/* The number of files for the data, beside the one of the descriptor. */
uint64_t vmdk_create_extents(const VmdkCreate *c);
/* Make the image @filename of what @c has. */
int vmdk_create_image(VmdkCreate *c, const char *filename, Error **errp);

/*
 * A file of the image, which is number @index among the nodes: 0 is the image's
 * own, the others are its extents.
 */
int vmdk_create_flat(const VmdkCreate *c, unsigned index, const char *path,
                     uint64_t sectors, Error **errp);
/* An empty sparse extent; @text is its embedded descriptor, or NULL. */
int vmdk_create_sparse(const VmdkCreate *c, unsigned index, const char *path,
                       uint64_t sectors, const char *text, Error **errp);
/* A descriptor of its own; always number 0. */
int vmdk_create_text(const VmdkCreate *c, const char *path, const char *text,
                     Error **errp);

#endif
