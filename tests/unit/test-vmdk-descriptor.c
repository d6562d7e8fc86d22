/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Descriptors as other programs and people write them: what can mean one
 * thing only is read, all else is refused, and a new CID changes nothing but
 * the CID.
 */
#include "qemu/osdep.h"
#include "block/vmdk/vmdk.h"
#include "qapi/error.h"

#define HEAD "# Disk DescriptorFile\nversion=1\n"
#define TYPE "createType=\"vmfs\"\n"
#define NO_PARENT "parentCID=ffffffff\n"
#define EXTENT "RW 2048 VMFS \"x-flat.vmdk\"\n"
#define ALL HEAD "CID=1234abcd\n" NO_PARENT TYPE EXTENT

static void parse(VmdkDescriptor *desc, const char *text)
{
    g_assert_true(vmdk_desc_parse(desc, text, false, "x.vmdk",
                                  &error_abort));
}

/* One extent of 2048 sectors, whatever is around it. */
static void check_usual(const char *text)
{
    VmdkDescriptor desc;

    parse(&desc, text);
    g_assert_cmpint(desc.lines->len, ==, 1);
    g_assert_cmpint(g_array_index(desc.lines, VmdkExtentLine, 0).sectors, ==,
                    2048);
    g_assert_cmpint(desc.parent_cid, ==, VMDK_NO_PARENT);
    g_assert_cmpstr(desc.create_type, ==, "vmfs");
    g_assert_null(desc.parent_hint);
    vmdk_desc_clear(&desc);
    g_assert_cmpint(vmdk_desc_probe(text, strlen(text)), ==, 100);
}

static void test_unambiguous(void)
{
    check_usual(ALL);
    check_usual(VMDK_UTF8_MARK ALL);
    check_usual("\n \n" ALL "\x1a");
    check_usual(ALL "ddb.x = \"y\"\x1a\x1a\r\n");
    check_usual(ALL "made again by hand\n");
    check_usual(ALL "parentFileNameHint=\"\"\n");
    check_usual(ALL "parentFileNameHint=\n");
    check_usual(ALL TYPE "CID=01234ABCD\n");
    check_usual("# Disk DescriptorFile\rversion=1\rCID=1\r"
                "parentCID=ffffffff\rcreateType=\"vmfs\"\r"
                "RW 2048 VMFS \"x-flat.vmdk\"\r");
    check_usual("# disk descriptorfile\nVersion = \"1\"\ncid = \"1\"\n"
                "ParentCID = 0xFFFFFFFF\nCREATETYPE = vmfs\n"
                "rw\t0x800  vmfs\t\"x-flat.vmdk\"  \n");
    check_usual("#made by hand\n version = 3 \nCID=1\n" NO_PARENT TYPE
                "RW 0002048 VMFS \"x-flat.vmdk\"");
}

static void test_cids(void)
{
    static const struct {
        const char *text;
        uint32_t cid;
    } cases[] = {
        { "1", 1 },
        { "1234abcd", 0x1234abcd },
        { "\"1234ABCD\"", 0x1234abcd },
        { "0x7", 7 },
        { "12345678", 0x12345678 },
        { "00000000000000000007", 7 },
        { "3735928559", 0xdeadbeef },
        { "4294967295", VMDK_NO_PARENT },
        { "4294967296", 0x94967296 },
        { "ffffffffffffffff", VMDK_NO_PARENT },
        { "1122334455667788aabbccdd", 0xaabbccdd },
    };
    size_t i;

    for (i = 0; i < ARRAY_SIZE(cases); i++) {
        g_autofree char *text = g_strdup_printf(
            HEAD "CID=%s\nparentCID=%s\n" TYPE, cases[i].text,
            cases[i].text);
        VmdkDescriptor desc;

        parse(&desc, text);
        g_assert_cmphex(desc.cid, ==, cases[i].cid);
        g_assert_cmphex(desc.parent_cid, ==, cases[i].cid);
        vmdk_desc_clear(&desc);
    }
}

static void test_ambiguous(void)
{
    static const struct {
        const char *text;
        const char *error;
    } cases[] = {
        { ALL "CID=2\n", "'CID' is there twice" },
        { ALL "parentCID=2\n", "'parentCID' is there twice" },
        { ALL "createType=\"vmfsSparse\"\n", "'createType' is there twice" },
        { ALL "parentFileNameHint=\"\"\nparentFileNameHint=\"a\"\n",
          "'parentFileNameHint' is there twice" },
        { ALL "parentFileNameHint=\"a\"\nparentFileNameHint=\"b\"\n",
          "'parentFileNameHint' is there twice" },
        { ALL "parentFileNameHint=\"a\"b\"\n", "parentFileNameHint=\"a\"b" },
        { ALL "\x1a\n" EXTENT, "end-of-file character" },
        { ALL "\x1aRW 8 ZERO\n", "end-of-file character" },
        { ALL "R 2048 VMFS \"y\"\n", "Invalid line" },
        { ALL "2048 FLAT \"y\" 0\n", "Invalid line" },
        { ALL "RW 2048 VMFS \"y\" 0\n", "Invalid extent line" },
        { ALL "RW 2048 VMFS \"5.25\" y\"\n", "cannot contain a quote" },
        { ALL "RW 2048. VMFS \"y\"\n", "Invalid extent line" },
        { ALL "RW 0x VMFS \"y\"\n", "Invalid extent line" },
        { HEAD "CID=g\n" NO_PARENT TYPE, "CID=g" },
        { HEAD "CID=\n" NO_PARENT TYPE, "CID=" },
        { HEAD "CID=-1\n" NO_PARENT TYPE, "CID=-1" },
        { "version=4\nCID=1\n" NO_PARENT TYPE, "version=4" },
        { "\xff\xfe#", "UTF-16" },
    };
    size_t i;

    for (i = 0; i < ARRAY_SIZE(cases); i++) {
        VmdkDescriptor desc;
        Error *err = NULL;

        g_assert_false(vmdk_desc_parse(&desc, cases[i].text, false, "x.vmdk",
                                       &err));
        if (!strstr(error_get_pretty(err), cases[i].error)) {
            g_test_message("'%s' expected in: %s", cases[i].error,
                           error_get_pretty(err));
            g_test_fail();
        }
        error_free(err);
    }
}

/* The name of an embedded extent is not used: anything goes. */
static void test_embedded_name(void)
{
    VmdkDescriptor desc;

    g_assert_true(vmdk_desc_parse(&desc, HEAD "CID=1\n" NO_PARENT TYPE
                                  "RW 8 SPARSE \"5.25\" disk.vmdk\"\n", true,
                                  "x.vmdk", &error_abort));
    g_assert_cmpint(desc.lines->len, ==, 1);
    vmdk_desc_clear(&desc);
}

static void test_change_tracking(void)
{
    VmdkDescriptor desc;

    parse(&desc, ALL "changeTrackPath=\"x-ctk.vmdk\"\n");
    g_assert_true(desc.change_tracking);
    vmdk_desc_clear(&desc);
    parse(&desc, ALL "changeTrackPath=\"\"\n");
    g_assert_false(desc.change_tracking);
    vmdk_desc_clear(&desc);
}

static void check_replaced(const char *text, const char *expected)
{
    g_autofree char *changed = vmdk_desc_replace_cid(text, 0xabcdef01);

    g_assert_cmpstr(changed, ==, expected);
}

static void test_replace_cid(void)
{
    check_replaced("version=1\nCID=1\nx=y\n",
                   "version=1\nCID=abcdef01\nx=y\n");
    check_replaced(VMDK_UTF8_MARK "cid = \"12\"\r\nCID=12\r\n\x1a",
                   VMDK_UTF8_MARK "cid = abcdef01\r\nCID=abcdef01\r\n\x1a");
    check_replaced("parentCID=2\rCID=1122334455\x1a",
                   "parentCID=2\rCID=abcdef01  \x1a");
    check_replaced("#CID=1\nddb.CID=1\n CID=\n#\n",
                   "#CID=1\nddb.CID=1\n CID=abcdef01\n#\n");
    check_replaced("parentCID=2\n", NULL);
}

static void check_hint(const char *text, const char *hint,
                       const char *expected)
{
    g_autofree char *changed = vmdk_desc_replace_hint(text, hint);
    g_autofree char *again = vmdk_desc_replace_hint(changed, hint);

    g_assert_cmpstr(changed, ==, expected);
    g_assert_cmpstr(again, ==, expected);
}

static void test_replace_hint(void)
{
    check_hint("CID=1\nparentCID=2\ncreateType=\"x\"\nRW 1 ZERO\n", "a b",
               "CID=1\nparentCID=2\ncreateType=\"x\"\n"
               "parentFileNameHint=\"a b\"\nRW 1 ZERO\n");
    /* The place and the end of the line stay; a second one goes. */
    check_hint("parentCID=2\r\n PARENTfilenamehint = \"old\"\r\n"
               "parentFileNameHint=\"old\"\r\n#\r\n\x1a", "new",
               "parentCID=2\r\nparentFileNameHint=\"new\"\r\n#\r\n\x1a");
    check_hint(VMDK_UTF8_MARK "parentFileNameHint=\"old\"\n\n\nparentCID=2",
               NULL, VMDK_UTF8_MARK "\n\nparentCID=2");
    check_hint("#parentFileNameHint=\"x\"\nparentCID=2\n", NULL,
               "#parentFileNameHint=\"x\"\nparentCID=2\n");
    check_hint("parentCID=2\nparentFileNameHint=\"old\"\x1a", "new",
               "parentCID=2\nparentFileNameHint=\"new\"\x1a");
}

static void test_replace_parent_cid(void)
{
    g_autofree char *a = vmdk_desc_replace_parent_cid(
        "CID=1\nparentCID=ffffffff\n#parentCID=1\n", 0xfe);
    g_autofree char *b = vmdk_desc_replace_parent_cid("CID=2\n", 7);

    g_assert_cmpstr(a, ==, "CID=1\nparentCID=000000fe\n#parentCID=1\n");
    g_assert_null(b);
}

static void test_probe(void)
{
    static const char *const others[] = {
        "", "#", "# Disk\n", "version=4\n", "version=12\n", "version=1x\n",
        "CID=1\nversion=1\n", "hello\nversion=1\n", "\rx\nversion=1\n",
        "# x\ry\nz\nversion=1\n",
    };
    /* To QEMU a remark goes on behind a CR. */
    static const char *const texts[] = {
        "#\rversion=1\r", "#\r\nversion=1\r\n", "# x\ry\nversion=1\n",
        "# x\ry\r\n \r\nversion=3\r\n",
    };
    size_t i;

    for (i = 0; i < ARRAY_SIZE(others); i++) {
        g_assert_cmpint(vmdk_desc_probe(others[i], strlen(others[i])), ==,
                        0);
    }
    for (i = 0; i < ARRAY_SIZE(texts); i++) {
        g_assert_cmpint(vmdk_desc_probe(texts[i], strlen(texts[i])), ==, 100);
    }
    g_assert_cmpint(vmdk_desc_probe("#x\nversion=2", 12), ==, 100);
    g_assert_cmpint(vmdk_desc_probe("#x\nversion=2", 11), ==, 0);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/vmdk-descriptor/unambiguous", test_unambiguous);
    g_test_add_func("/vmdk-descriptor/cids", test_cids);
    g_test_add_func("/vmdk-descriptor/ambiguous", test_ambiguous);
    g_test_add_func("/vmdk-descriptor/embedded-name", test_embedded_name);
    g_test_add_func("/vmdk-descriptor/change-tracking",
                    test_change_tracking);
    g_test_add_func("/vmdk-descriptor/replace-cid", test_replace_cid);
    g_test_add_func("/vmdk-descriptor/replace-hint", test_replace_hint);
    g_test_add_func("/vmdk-descriptor/replace-parent-cid",
                    test_replace_parent_cid);
    g_test_add_func("/vmdk-descriptor/probe", test_probe);
    return g_test_run();
}
