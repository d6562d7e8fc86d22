/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The parent of an image is what the descriptor or the user says, and a VMDK;
 * the names of files in a descriptor.
 */
#include "qemu/osdep.h"
#include "vmdk-image.h"
#include "block/mirror.h"
#include "block/stream.h"
#include "qemu/main-loop.h"

#define PARENT_CID 0x1234abcd

/* A parent with two grains, and an empty child that names it by @more. */
static char *make_chain(uint32_t parent_cid, const char *more)
{
    g_autoptr(GByteArray) parent = sparse_image(2, VMDK_NO_PARENT, "");
    g_autoptr(GByteArray) child = sparse_image(0, parent_cid, more);
    g_autofree char *parent_path = tmp_path("parent.vmdk");
    char *path = tmp_path("child.vmdk");

    save(parent, parent_path);
    save(child, path);
    return path;
}

/* The child reads as its parent. */
static void check_parent(uint32_t parent_cid, const char *more)
{
    g_autofree char *path = make_chain(parent_cid, more);
    BlockBackend *blk = open_vmdk(path, 0, &error_abort);

    g_assert_cmpint(read_grain(blk, 0, 1), ==, 0);
    g_assert_cmpint(read_grain(blk, 1, 2), ==, 0);
    g_assert_cmpint(read_grain(blk, 2, 0), ==, 0);
    blk_unref(blk);
}

static void test_named(void)
{
    g_autofree char *absolute = g_strdup_printf(
        "parentFileNameHint=\"%s/parent.vmdk\"\n", tmp_dir);
    g_autofree char *protocol = g_strdup_printf(
        "parentFileNameHint=\"file:%s/parent.vmdk\"\n", tmp_dir);
    g_autofree char *json = g_strdup_printf(
        "parentFileNameHint=\"json:{'driver': 'vmdk', 'file': {'driver':"
        " 'file', 'filename': '%s/parent.vmdk'}}\"\n", tmp_dir);

    check_parent(PARENT_CID, "parentFileNameHint=\"parent.vmdk\"\n");
    check_parent(PARENT_CID, absolute);
    check_parent(PARENT_CID, protocol);
    check_parent(PARENT_CID, json);
}

static void test_unnamed(void)
{
    g_autofree char *path = make_chain(PARENT_CID, "");
    g_autofree char *parent = tmp_path("parent.vmdk");
    QOpts *opts = qopts_new();
    BlockBackend *blk;

    check_refused(path, 0, "has a parent, parentCID=1234abcd, but does not");
    blk_unref(open_vmdk(path, BDRV_O_NO_BACKING, &error_abort));
    qopts_set_str(opts, "driver", "vmdk");
    qopts_set_str(opts, "backing.driver", "vmdk");
    qopts_set_str(opts, "backing.file.filename", parent);
    blk = blk_new_open(path, NULL, opts, 0, &error_abort);
    g_assert_cmpint(read_grain(blk, 1, 2), ==, 0);
    blk_unref(blk);
}

static void test_wrong_kind(void)
{
    g_autofree char *path = make_chain(
        PARENT_CID, "parentFileNameHint=\"raw\"\n");
    g_autofree char *json_path = NULL;
    g_autofree char *raw = tmp_path("raw");
    g_autofree char *hint = g_strdup_printf(
        "parentFileNameHint=\"json:{'driver': 'raw', 'file': {'driver':"
        " 'file', 'filename': '%s'}}\"\n", raw);
    g_autofree char *data = g_strnfill(MiB, 'x');

    g_assert_true(g_file_set_contents(raw, data, MiB, NULL));
    check_refused(path, 0, "not in VMDK format");
    json_path = make_chain(PARENT_CID, hint);
    check_refused(json_path, 0, "must be a vmdk image");
}

static void test_wrong_cid(void)
{
    g_autofree char *path = make_chain(
        PARENT_CID + 1, "parentFileNameHint=\"parent.vmdk\"\n");
    BlockBackend *blk = open_vmdk(path, 0, &error_abort);

    g_assert_cmpint(read_grain(blk, 0, 1), ==, -EINVAL);
    blk_unref(blk);
}

/* The parent's CID counts also if there is a filter over the parent. */
static void test_filter(void)
{
    g_autofree char *path = make_chain(PARENT_CID + 1, "");
    g_autofree char *parent = tmp_path("parent.vmdk");
    QOpts *opts = qopts_new();
    BlockBackend *blk;

    qopts_set_str(opts, "driver", "vmdk");
    qopts_set_str(opts, "backing.driver", "blkdebug");
    qopts_set_str(opts, "backing.image.driver", "vmdk");
    qopts_set_str(opts, "backing.image.file.driver", "file");
    qopts_set_str(opts, "backing.image.file.filename", parent);
    blk = blk_new_open(path, NULL, opts, 0, &error_abort);
    g_assert_cmpint(read_grain(blk, 0, 1), ==, -EINVAL);
    blk_unref(blk);
}

/* A disk in one file of a name that is spelled @spelled in the descriptor. */
static void check_name(const char *name, const char *spelled,
                       const char *more)
{
    g_autofree char *flat = tmp_path(name);
    g_autofree char *path = tmp_path("a:descriptor.vmdk");
    g_autofree char *data = g_strnfill(GRAIN, 7);
    g_autofree char *text = g_strdup_printf(
        "# Disk DescriptorFile\nversion=1\nCID=1\nparentCID=ffffffff\n"
        "createType=\"vmfs\"\n%sRW 128 VMFS \"%s\"\n", more, spelled);
    BlockBackend *blk;

    g_assert_true(g_file_set_contents(flat, data, GRAIN, NULL));
    g_assert_true(g_file_set_contents(path, text, -1, NULL));
    blk = open_vmdk(path, 0, &error_abort);
    g_assert_cmpint(read_grain(blk, 0, 7), ==, 0);
    blk_unref(blk);
    g_unlink(flat);
}

static void test_names(void)
{
    check_name("a:flat", "a:flat", "");
    check_name("json:{}", "json:{}", "");
    check_name("caf\xe9", "caf\xe9", "encoding=\"windows-1252\"\n");
    check_name("caf\xc3\xa9", "caf\xe9", "encoding=\"windows-1252\"\n");
    check_name("\xe9\xe9", "\xe9\xe9", "encoding=\"no such encoding\"\n");
}

/* Lines that use the same file, of 4096 bytes; @error: NULL if that is fine. */
static void check_lines(const char *lines, const char *error)
{
    g_autofree char *flat = tmp_path("flat");
    g_autofree char *path = tmp_path("lines.vmdk");
    g_autofree char *data = g_strnfill(4096, 'f');
    g_autofree char *text = g_strdup_printf(
        "# Disk DescriptorFile\nversion=1\nCID=1\nparentCID=ffffffff\n"
        "createType=\"monolithicFlat\"\n%s", lines);

    g_assert_true(g_file_set_contents(flat, data, 4096, NULL));
    g_assert_true(g_file_set_contents(path, text, -1, NULL));
    if (error) {
        check_refused(path, 0, error);
    } else {
        blk_unref(open_vmdk(path, 0, &error_abort));
    }
}

static void test_same_file(void)
{
    check_lines("RW 4 FLAT \"flat\" 4\nRW 4 FLAT \"flat\" 0\n", NULL);
    check_lines("RW 4 FLAT \"flat\" 3\nRW 4 FLAT \"flat\" 0\n", "overlap");
    check_lines("RDONLY 4 FLAT \"flat\" 3\nRDONLY 4 FLAT \"flat\" 0\n",
                NULL);
    check_lines("RW 4 FLAT \"flat\" 4\nNOACCESS 8 FLAT \"flat\" 0\n", NULL);
    check_lines("RW 4 FLAT \"flat\" 0\nRW 4 ZERO\nRW 4 SPARSE \"flat\"\n",
                "is there twice");
    check_lines("RW 9 FLAT \"flat\" 0\n", "expecting at least 4608 bytes");
}

/* Thousands of extents, in one file. */
static void test_many_extents(void)
{
    g_autoptr(GString) lines = g_string_new("");
    int i;

    for (i = 0; i < 5000; i++) {
        g_string_append_printf(lines, "RW 1 ZERO\n");
    }
    check_lines(lines->str, NULL);
}

/* The text in an extent can only be about that extent. */
static void test_embedded_lines(void)
{
    g_autoptr(GByteArray) image = sparse_image(1, VMDK_NO_PARENT,
                                               "RW 8 SPARSE \"y.vmdk\"\n");
    g_autofree char *path = tmp_path("embedded.vmdk");

    save(image, path);
    check_refused(path, 0, "describes 2 extents");
}

/* A descriptor made by hand for an extent whose own one is of no use. */
static void test_by_hand(void)
{
    static const char *const types[] = {
        "monolithicSparse", "twogbmaxextentsparse", "custom",
    };
    g_autoptr(GByteArray) image = sparse_image(2, VMDK_NO_PARENT, "");
    g_autofree char *extent = tmp_path("x.vmdk");
    g_autofree char *path = tmp_path("hand.vmdk");
    size_t i;

    memset(image->data + 512, 0xff, 20 * 512);
    save(image, extent);
    for (i = 0; i < ARRAY_SIZE(types); i++) {
        g_autofree char *text = g_strdup_printf(
            "# Disk DescriptorFile\nversion=1\nCID=1\nparentCID=ffffffff\n"
            "createType=\"%s\"\nRW %d SPARSE \"x.vmdk\"\n", types[i],
            CAPACITY);
        BlockBackend *blk;

        g_assert_true(g_file_set_contents(path, text, -1, NULL));
        blk = open_vmdk(path, 0, &error_abort);
        g_assert_cmpint(read_grain(blk, 1, 2), ==, 0);
        blk_unref(blk);
    }
}

/* All but the CID is as it was, to the byte. */
static void test_written_back(void)
{
    static const char text[] = VMDK_UTF8_MARK
        "# Disk DescriptorFile\r\nversion=1\r\nCID=00000001\r\n"
        "parentCID=ffffffff\r\ncreateType=\"vmfs\"\r\n"
        "RW 128 VMFS \"flat\"\r\nsome note\r\nddb.x = \"y\"\r\n\x1a";
    const char *cid = strstr(text, "CID=") + 4;
    g_autofree char *flat = tmp_path("flat");
    g_autofree char *path = tmp_path("back.vmdk");
    g_autofree char *data = g_strnfill(GRAIN, 'f');
    g_autofree char *after = NULL;
    BlockBackend *blk;
    gsize length;

    g_assert_true(g_file_set_contents(flat, data, GRAIN, NULL));
    g_assert_true(g_file_set_contents(path, text, -1, NULL));
    blk = open_vmdk(path, RW_FLAGS, &error_abort);
    g_assert_cmpint(write_grain(blk, 0, 9), ==, 0);
    blk_unref(blk);
    g_assert_true(g_file_get_contents(path, &after, &length, NULL));
    g_assert_cmpint(length, ==, strlen(text));
    g_assert_cmpint(memcmp(after + (cid - text), cid, 8), !=, 0);
    memcpy(after + (cid - text), cid, 8);
    g_assert_cmpstr(after, ==, text);
}

/* An extent that nobody would see, and what a longer text leaves behind. */
static void test_nul(void)
{
    static const char text[] = "# Disk DescriptorFile\nversion=1\nCID=1\n"
        "parentCID=ffffffff\ncreateType=\"vmfs\"\nRW 8 ZERO\n\0 RW 8 ZERO\n";
    g_autofree char *path = tmp_path("nul.vmdk");

    g_assert_true(g_file_set_contents(path, text, sizeof(text), NULL));
    check_refused(path, 0, "has a NUL byte in it, and extents behind that");
    g_assert_true(g_file_set_contents(path, text, sizeof(text) - 10, NULL));
    blk_unref(open_vmdk(path, 0, &error_abort));
}

/*
 * QEMU writes a CID of 4 digits over one of 8: the text moves up, and behind
 * its NUL are the last 3 characters of what was there.  The next CID, of 8
 * digits here, must not join them to the text.
 */
static void test_leftover(void)
{
    static const char before[] = "# Disk DescriptorFile\nversion=1\nCID=beef\n"
        "parentCID=ffffffff\ncreateType=\"monolithicFlat\"\n"
        "RW 128 FLAT \"left-flat.vmdk\" 0\n\n# The Disk Data Base\n"
        "ddb.adapterType = \"ide\"\n";
    g_autofree char *path = tmp_path("left.vmdk");
    g_autofree char *flat = tmp_path("left-flat.vmdk");
    g_autofree char *data = g_strnfill(GRAIN, 'f');
    g_autofree char *after = NULL;
    GString *text = g_string_new_len(before, sizeof(before));
    BlockBackend *blk;
    gsize length;

    /* More was left by a longer text than the 4 characters that come back. */
    g_string_append(text, "\"ide\"\n");
    g_assert_true(g_file_set_contents(flat, data, GRAIN, NULL));
    g_assert_true(g_file_set_contents(path, text->str, text->len, NULL));
    blk = open_vmdk(path, RW_FLAGS, &error_abort);
    g_assert_cmpint(write_grain(blk, 0, 9), ==, 0);
    blk_unref(blk);
    g_assert_true(g_file_get_contents(path, &after, &length, NULL));
    g_assert_cmpint(length, ==, text->len);
    g_assert_cmpint(strlen(after), ==, strlen(before) + 4);
    g_assert_true(g_str_has_suffix(after, "adapterType = \"ide\"\n"));
    g_string_free(text, true);
    blk_unref(open_vmdk(path, RW_FLAGS, &error_abort));
}

/*
 * An image that stays open gets another CID after it was read-only: overlays
 * may have been made of it then.
 */
static void test_cid_after_reopen(void)
{
    g_autoptr(GByteArray) image = sparse_image(2, VMDK_NO_PARENT, "");
    g_autofree char *path = tmp_path("parent.vmdk");
    g_autofree char *child_path = tmp_path("child.vmdk");
    g_autoptr(GByteArray) child = NULL;
    BlockBackend *blk;
    uint32_t cid;

    save(image, path);
    blk = open_vmdk(path, RW_FLAGS, &error_abort);
    g_assert_cmpint(write_grain(blk, 0, 7), ==, 0);
    set_writable(blk, false);
    cid = ((BDRVVmdkState *)blk_bs(blk)->opaque)->desc.cid;
    g_assert_cmphex(cid, !=, PARENT_CID);
    child = sparse_image(0, cid, "parentFileNameHint=\"parent.vmdk\"\n");
    save(child, child_path);
    set_writable(blk, true);
    g_assert_cmpint(write_grain(blk, 0, 8), ==, 0);
    blk_unref(blk);

    blk = open_vmdk(child_path, 0, &error_abort);
    g_assert_cmpint(read_grain(blk, 0, 7), ==, -EINVAL);
    blk_unref(blk);
}

static void check_has_changed(const BlockJob *job, Error **err)
{
    g_assert_null(job);
    g_assert_nonnull(strstr(error_get_pretty(*err), "has changed"));
    error_free(*err);
    *err = NULL;
}

/*
 * A chain of which one image is over a wrong one: a job would put two disks
 * together, and hide that.
 */
static void check_jobs_refused(uint32_t middle_parent, uint32_t active_parent)
{
    static const char named[] = "parentFileNameHint=\"parent.vmdk\"\n";
    g_autofree char *path = tmp_path("active.vmdk");
    g_autoptr(GByteArray) active = sparse_image(
        0, active_parent, "parentFileNameHint=\"child.vmdk\"\n");
    ChainJobOptions chain = { .job_id = "chain" };
    MirrorJobOptions mirror = { .job_id = "commit" };
    BlockDriverState *bs, *top, *base;
    BlockBackend *blk;
    Error *err = NULL;

    g_free(make_chain(middle_parent, named));
    save(active, path);
    blk = open_vmdk(path, RW_FLAGS, &error_abort);
    bs = blk_bs(blk);
    top = bdrv_cow_bs(bs);
    base = bdrv_cow_bs(top);
    check_has_changed(commit_job_create(bs, top, base, &chain, &err), &err);
    check_has_changed(commit_active_job_create(bs, base, &mirror, &err),
                      &err);
    check_has_changed(stream_job_create(bs, base, &chain, &err), &err);
    g_assert_cmpint(read_grain(blk, 0, 1), ==, -EINVAL);
    blk_unref(blk);
}

static void test_jobs_refused(void)
{
    check_jobs_refused(PARENT_CID + 1, PARENT_CID);
    check_jobs_refused(PARENT_CID, PARENT_CID + 1);
}

/* What is written to an image with the CID @cid stays behind the next one. */
static void check_in_place(const char *cid)
{
    g_autofree char *text = g_strdup_printf(
        "# Disk DescriptorFile\nversion=1\nCID=%s\nparentCID=ffffffff\n"
        "createType=\"vmfs\"\nRW 128 VMFS \"flat\"\n", cid);
    g_autofree char *flat = tmp_path("flat");
    g_autofree char *path = tmp_path("place.vmdk");
    g_autofree char *data = g_strnfill(GRAIN, 'f');
    int i;

    g_assert_true(g_file_set_contents(flat, data, GRAIN, NULL));
    g_assert_true(g_file_set_contents(path, text, -1, NULL));
    for (i = 0; i < 20; i++) {
        g_autofree char *after = NULL;
        BlockBackend *blk = open_vmdk(path, RW_FLAGS, &error_abort);
        char *place;

        g_assert_cmpint(write_grain(blk, 0, i), ==, 0);
        blk_unref(blk);
        g_assert_true(g_file_get_contents(path, &after, NULL, NULL));
        place = strstr(after, "\nCID=") + strlen("\nCID=");
        g_assert_cmpint(memcmp(place, cid, strlen(cid)), !=, 0);
        memcpy(place, cid, strlen(cid));
        g_assert_cmpstr(after, ==, text);
    }
}

/* QEMU leaves out zeroes in front; an odd sector must not tear the text. */
static void test_short_cid(void)
{
    check_in_place("fffffff");
    check_in_place("1000000");
    check_in_place("100000");
}

int main(int argc, char **argv)
{
    int ret;

    g_test_init(&argc, &argv, NULL);
    qemu_init_main_loop(&error_abort);
    bdrv_init();
    make_tmp_dir();
    g_test_add_func("/vmdk-parent/named", test_named);
    g_test_add_func("/vmdk-parent/unnamed", test_unnamed);
    g_test_add_func("/vmdk-parent/wrong-kind", test_wrong_kind);
    g_test_add_func("/vmdk-parent/wrong-cid", test_wrong_cid);
    g_test_add_func("/vmdk-parent/filter", test_filter);
    g_test_add_func("/vmdk-parent/names", test_names);
    g_test_add_func("/vmdk-parent/same-file", test_same_file);
    g_test_add_func("/vmdk-parent/many-extents", test_many_extents);
    g_test_add_func("/vmdk-parent/embedded-lines", test_embedded_lines);
    g_test_add_func("/vmdk-parent/by-hand", test_by_hand);
    g_test_add_func("/vmdk-parent/written-back", test_written_back);
    g_test_add_func("/vmdk-parent/nul", test_nul);
    g_test_add_func("/vmdk-parent/leftover", test_leftover);
    g_test_add_func("/vmdk-parent/cid-after-reopen", test_cid_after_reopen);
    g_test_add_func("/vmdk-parent/jobs-refused", test_jobs_refused);
    g_test_add_func("/vmdk-parent/short-cid", test_short_cid);
    ret = g_test_run();
    remove_tmp_dir();
    return ret;
}
