/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The export type vhost-user-blk: its life, and the configuration that the
 * guest sees.  Main thread.
 */
#include "qemu/osdep.h"
#include "vhost-user-blk.h"
#include "qapi/error.h"

#define VU_BLK_DEFAULT_BLK_SIZE 512
/* As with other disks of virtio. */
#define VU_BLK_MAX_BLK_SIZE (2 * MiB)

/* All numbers are little-endian; virtio 1.2, section 5.2.4. */
typedef struct {
    uint64_t capacity;          /* sectors of 512 bytes, as all of them */
    uint32_t size_max;
    uint32_t seg_max;
    uint16_t cylinders;
    uint8_t heads;
    uint8_t sectors;
    uint32_t blk_size;
    uint8_t physical_block_exp;
    uint8_t alignment_offset;
    uint16_t min_io_size;
    uint32_t opt_io_size;
    uint8_t writeback;
    uint8_t unused0;
    uint16_t num_queues;
    uint32_t max_discard_sectors;
    uint32_t max_discard_seg;
    uint32_t discard_sector_alignment;
    uint32_t max_write_zeroes_sectors;
    uint32_t max_write_zeroes_seg;
    uint8_t write_zeroes_may_unmap;
    uint8_t unused1[3];
} QEMU_PACKED VuBlkConfig;

QEMU_BUILD_BUG_ON(sizeof(VuBlkConfig) != 60);
QEMU_BUILD_BUG_ON(offsetof(VuBlkConfig, writeback) !=
                  VU_BLK_CONFIG_WCE_OFFSET);

void vu_blk_get_config(VuBlkExport *exp, uint8_t *buf, uint32_t offset,
                       uint32_t len)
{
    BlockBackend *blk = exp->common.blk;
    int64_t size = MAX(blk_getlength(blk), 0);
    uint8_t all[VU_BLK_CONFIG_SIZE] = { 0 };
    VuBlkConfig config = {
        .capacity = htole64(QEMU_ALIGN_DOWN(size, exp->blk_size) >>
                            BDRV_SECTOR_BITS),
        .seg_max = htole32(VU_BLK_SEG_MAX),
        .blk_size = htole32(exp->blk_size),
        .min_io_size = htole16(1),
        .opt_io_size = htole32(1),
        .writeback = blk_enable_write_cache(blk),
        .num_queues = htole16(exp->n_queues),
        .max_discard_sectors = htole32(VU_BLK_MAX_RANGE_SECTORS),
        .max_discard_seg = htole32(VU_BLK_MAX_RANGES),
        .discard_sector_alignment = htole32(exp->blk_size >>
                                            BDRV_SECTOR_BITS),
        .max_write_zeroes_sectors = htole32(VU_BLK_MAX_RANGE_SECTORS),
        .max_write_zeroes_seg = htole32(VU_BLK_MAX_RANGES),
        .write_zeroes_may_unmap = 1,
    };

    memcpy(all, &config, sizeof(config));
    memcpy(buf, all + offset, len);
}

bool vu_blk_set_config(VuBlkExport *exp, const uint8_t *buf, uint32_t offset,
                       uint32_t len, Error **errp)
{
    if (offset != VU_BLK_CONFIG_WCE_OFFSET || len != 1 ||
        !vu_blk_has_feature(exp, VIRTIO_BLK_F_CONFIG_WCE)) {
        error_setg(errp, "%u bytes at %u of the configuration cannot be "
                   "written", len, offset);
        return false;
    }
    blk_set_enable_write_cache(exp->common.blk, *buf);
    return true;
}

static void resize_bh(void *opaque)
{
    vu_blk_client_config_changed(opaque);
}

/* In the thread that has changed the size. */
static void vu_blk_resized(void *opaque)
{
    VuBlkExport *exp = opaque;

    qemu_bh_schedule(exp->resize_bh);
}

static const BlockDevOps vu_blk_dev_ops = {
    .resize_cb = vu_blk_resized,
};

static void lost_bh(void *opaque)
{
    vu_blk_client_shutdown(opaque);
}

static uint64_t offered_features(const VuBlkExport *exp)
{
    uint64_t features = 1ULL << VIRTIO_BLK_F_SEG_MAX |
        1ULL << VIRTIO_BLK_F_BLK_SIZE | 1ULL << VIRTIO_BLK_F_FLUSH |
        1ULL << VIRTIO_BLK_F_TOPOLOGY | 1ULL << VIRTIO_BLK_F_CONFIG_WCE |
        1ULL << VIRTIO_BLK_F_DISCARD | 1ULL << VIRTIO_BLK_F_WRITE_ZEROES |
        1ULL << VIRTIO_RING_F_INDIRECT_DESC |
        1ULL << VIRTIO_RING_F_EVENT_IDX | 1ULL << VIRTIO_F_VERSION_1 |
        1ULL << VIRTIO_F_RING_PACKED |
        1ULL << VHOST_USER_F_PROTOCOL_FEATURES;

    if (!exp->writable) {
        features |= 1ULL << VIRTIO_BLK_F_RO;
    }
    if (exp->n_queues > 1) {
        features |= 1ULL << VIRTIO_BLK_F_MQ;
    }
    return features;
}

static bool check_options(const BlockExportOptionsVhostUserBlk *o,
                          uint32_t *blk_size, uint16_t *n_queues, Error **errp)
{
    uint64_t size = o->has_logical_block_size ? o->logical_block_size :
                    VU_BLK_DEFAULT_BLK_SIZE;

    *n_queues = o->has_num_queues ? o->num_queues : 1;
    if (size < BDRV_SECTOR_SIZE || size > VU_BLK_MAX_BLK_SIZE ||
        !is_power_of_2(size)) {
        error_setg(errp, "parameter logical-block-size must be a power of 2 "
                   "between %d and %" PRId64, (int)BDRV_SECTOR_SIZE,
                   VU_BLK_MAX_BLK_SIZE);
        return false;
    }
    if (!*n_queues || *n_queues > VU_BLK_MAX_QUEUES) {
        error_setg(errp, "num-queues must be between 1 and %d",
                   VU_BLK_MAX_QUEUES);
        return false;
    }
    *blk_size = size;
    return true;
}

static bool vu_blk_create(BlockExport *common, const BlockExportOptions *opts,
                          Error **errp)
{
    VuBlkExport *exp = container_of(common, VuBlkExport, common);
    const BlockExportOptionsVhostUserBlk *o = &opts->u.vhost_user_blk;
    uint16_t n_queues;
    unsigned i;

    if (!check_options(o, &exp->blk_size, &n_queues, errp)) {
        return false;
    }
    exp->n_queues = n_queues;
    exp->writable = opts->has_writable && opts->writable;
    exp->features = offered_features(exp);
    exp->client.fd = -1;
    exp->client.backend_fd = -1;
    exp->listen_fd = -1;
    exp->addr = QAPI_CLONE(SocketAddress, o->addr);
    if (!vu_blk_server_start(exp, errp)) {
        qapi_free_SocketAddress(exp->addr);
        return false;
    }
    exp->queues = g_new(VuBlkQueue, n_queues);
    for (i = 0; i < n_queues; i++) {
        vu_blk_queue_init(&exp->queues[i], exp, i,
                          common->ctxs[i % common->n_ctxs]);
    }
    exp->resize_bh = aio_bh_new(qemu_get_aio_context(), resize_bh, exp);
    exp->lost_bh = aio_bh_new(qemu_get_aio_context(), lost_bh, exp);
    blk_set_dev_ops(common->blk, &vu_blk_dev_ops, exp);
    qemu_coroutine_inc_pool_size(VIRTQUEUE_MAX_SIZE / 8 * n_queues);
    return true;
}

static void vu_blk_delete(BlockExport *common)
{
    VuBlkExport *exp = container_of(common, VuBlkExport, common);
    unsigned i;

    assert(exp->client.fd < 0);
    blk_set_dev_ops(common->blk, NULL, NULL);
    qemu_coroutine_dec_pool_size(VIRTQUEUE_MAX_SIZE / 8 * exp->n_queues);
    qemu_bh_delete(exp->resize_bh);
    qemu_bh_delete(exp->lost_bh);
    for (i = 0; i < exp->n_queues; i++) {
        vu_blk_queue_destroy(&exp->queues[i]);
    }
    g_free(exp->queues);
    qapi_free_SocketAddress(exp->addr);
}

static void vu_blk_request_shutdown(BlockExport *common)
{
    VuBlkExport *exp = container_of(common, VuBlkExport, common);

    vu_blk_server_stop(exp);
    vu_blk_client_shutdown(exp);
}

const BlockExportDriver blk_exp_vhost_user_blk = {
    .type = BLOCK_EXPORT_TYPE_VHOST_USER_BLK,
    .instance_size = sizeof(VuBlkExport),
    .has_iothread = true,
    .keeps_size = true,
    .has_multi_iothread = true,
    .create = vu_blk_create,
    .delete = vu_blk_delete,
    .request_shutdown = vu_blk_request_shutdown,
};
