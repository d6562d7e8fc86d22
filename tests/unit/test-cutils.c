/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Strings, numbers, sizes, paths, the test for zeroes, aligned memory.
 */
#include "qemu/osdep.h"
#include "qemu/cutils.h"

typedef struct NumberCase {
    const char *text;
    int ret;            /* with an end pointer */
    int full_ret;       /* without */
    int64_t value;
    int parsed;         /* characters */
} NumberCase;

static void test_strtoi(void)
{
    static const NumberCase cases[] = {
        { "12345", 0, 0, 12345, 5 },
        { " -12 foo", 0, -EINVAL, -12, 4 },
        { "0x1f", 0, 0, 31, 4 },
        { "2147483647", 0, 0, INT_MAX, 10 },
        { "2147483648", -ERANGE, -ERANGE, INT_MAX, 10 },
        { "-2147483649", -ERANGE, -ERANGE, INT_MIN, 11 },
        { "99999999999999999999", -ERANGE, -ERANGE, INT_MAX, 20 },
        { "", -EINVAL, -EINVAL, 0, 0 },
        { "foo", -EINVAL, -EINVAL, 0, 0 },
        { "-", -EINVAL, -EINVAL, 0, 0 },
    };
    size_t i;

    for (i = 0; i < ARRAY_SIZE(cases); i++) {
        const NumberCase *c = &cases[i];
        const char *end = NULL;
        int value = 99;

        g_assert_cmpint(qemu_strtoi(c->text, &end, 0, &value), ==, c->ret);
        g_assert_cmpint(value, ==, c->value);
        g_assert_cmpint(end - c->text, ==, c->parsed);
        g_assert_cmpint(qemu_strtoi(c->text, NULL, 0, &value), ==,
                        c->full_ret);
    }
}

static void test_strtoui(void)
{
    unsigned int value;

    g_assert_cmpint(qemu_strtoui("4294967295", NULL, 0, &value), ==, 0);
    g_assert_cmpuint(value, ==, UINT_MAX);
    g_assert_cmpint(qemu_strtoui("4294967296", NULL, 0, &value), ==, -ERANGE);
    g_assert_cmpuint(value, ==, UINT_MAX);
    g_assert_cmpint(qemu_strtoui("-1", NULL, 0, &value), ==, 0);
    g_assert_cmpuint(value, ==, UINT_MAX);
    g_assert_cmpint(qemu_strtoui("-4294967296", NULL, 0, &value), ==,
                    -ERANGE);
    g_assert_cmpint(qemu_strtoui("x", NULL, 0, &value), ==, -EINVAL);
    g_assert_cmpuint(value, ==, 0);
}

static void test_strto64(void)
{
    const char *end;
    int64_t i;
    uint64_t u;
    long l;
    unsigned long ul;

    g_assert_cmpint(qemu_strtoi64("-9223372036854775808", NULL, 10, &i), ==,
                    0);
    g_assert_cmpint(i, ==, INT64_MIN);
    g_assert_cmpint(qemu_strtoi64("9223372036854775808", &end, 10, &i), ==,
                    -ERANGE);
    g_assert_cmpint(i, ==, INT64_MAX);
    g_assert_cmpstr(end, ==, "");
    g_assert_cmpint(qemu_strtou64("18446744073709551615", NULL, 10, &u), ==,
                    0);
    g_assert_cmpuint(u, ==, UINT64_MAX);
    g_assert_cmpint(qemu_strtou64("18446744073709551616", NULL, 10, &u), ==,
                    -ERANGE);
    g_assert_cmpint(qemu_strtol("077", NULL, 0, &l), ==, 0);
    g_assert_cmpint(l, ==, 63);
    g_assert_cmpint(qemu_strtoul("ff", NULL, 16, &ul), ==, 0);
    g_assert_cmpuint(ul, ==, 255);

    g_assert_cmpint(qemu_strtoi64(NULL, &end, 0, &i), ==, -EINVAL);
    g_assert_null(end);
    g_assert_cmpint(qemu_strtou64(NULL, NULL, 0, &u), ==, -EINVAL);
}

static void test_parse_uint(void)
{
    const char *text = " -1";
    const char *end;
    uint64_t u;

    g_assert_cmpint(parse_uint(text, &end, 0, &u), ==, -EINVAL);
    g_assert_true(end == text);
    g_assert_cmpint(parse_uint("12kg", &end, 0, &u), ==, 0);
    g_assert_cmpuint(u, ==, 12);
    g_assert_cmpstr(end, ==, "kg");
    g_assert_cmpint(parse_uint_full("12kg", 0, &u), ==, -EINVAL);
    g_assert_cmpuint(u, ==, 0);
    g_assert_cmpint(parse_uint_full("0x10", 0, &u), ==, 0);
    g_assert_cmpuint(u, ==, 16);
    g_assert_cmpint(parse_uint_full("18446744073709551616", 0, &u), ==,
                    -ERANGE);
    g_assert_cmpuint(u, ==, UINT64_MAX);
}

static void test_strtosz_valid(void)
{
    static const struct {
        const char *text;
        uint64_t value;
    } cases[] = {
        { "0", 0 }, { "5", 5 }, { "+5", 5 }, { " 5", 5 }, { "5B", 5 },
        { "1k", 1024 }, { "1K", 1024 }, { "1M", MiB }, { "1g", GiB },
        { "1T", TiB }, { "1P", TiB << 10 }, { "1e", TiB << 20 },
        { "0x200", 512 }, { "0x20M", 32 * MiB }, { "08", 8 },
        { "0.5k", 512 }, { ".5k", 512 }, { "1.k", 1024 },
        { "1.5M", 1536 * 1024 }, { "1.1k", 1126 }, { "1.9999k", 2048 },
        { "1.0009765625k", 1025 }, { "1.0", 1 }, { "1.000b", 1 },
        { "0.1000000000000000000000000000000000000000k", 102 },
        { "1.5e", 1729382256910270464 },
        { "9007199254740993", 9007199254740993 },
        { "8796093022208.0009765625M", 9223372036854776832ULL },
        { "18446744073709551615", UINT64_MAX },
        { "15.99999999999999999e", UINT64_MAX - 11 },
    };
    size_t i;

    for (i = 0; i < ARRAY_SIZE(cases); i++) {
        uint64_t value = 99;

        g_test_message("%s", cases[i].text);
        g_assert_cmpint(qemu_strtosz(cases[i].text, NULL, &value), ==, 0);
        g_assert_cmpuint(value, ==, cases[i].value);
    }
}

static void test_strtosz_invalid(void)
{
    static const char *const invalid[] = {
        "", " ", "-", "-0", "-1", "-1k", "+-1", "x", "k", ".", ".k", "+",
        "5 ", "5kb", "5x", "1.5", "1.5b", "1e3", "1..5k", "1.5.5k",
        "0x1.8k", "0x", "nan", "inf", "1,5k", "1 k", NULL,
    };
    static const char *const too_large[] = {
        "18446744073709551616", "16e", "16384P", "0x10000000000000000",
        "15.99999999999999999999e", "99999999999999999999999k",
    };
    uint64_t value;
    size_t i;

    for (i = 0; i < ARRAY_SIZE(invalid); i++) {
        value = 99;
        g_test_message("%s", invalid[i] ?: "NULL");
        g_assert_cmpint(qemu_strtosz(invalid[i], NULL, &value), ==, -EINVAL);
        g_assert_cmpuint(value, ==, 0);
    }
    for (i = 0; i < ARRAY_SIZE(too_large); i++) {
        g_test_message("%s", too_large[i]);
        g_assert_cmpint(qemu_strtosz(too_large[i], NULL, &value), ==,
                        -ERANGE);
        g_assert_cmpuint(value, ==, UINT64_MAX);
    }
}

static void test_strtosz_units(void)
{
    const char *end;
    uint64_t value;

    g_assert_cmpint(qemu_strtosz_MiB("2", NULL, &value), ==, 0);
    g_assert_cmpuint(value, ==, 2 * MiB);
    g_assert_cmpint(qemu_strtosz_MiB("2.5", NULL, &value), ==, 0);
    g_assert_cmpuint(value, ==, 2 * MiB + MiB / 2);
    g_assert_cmpint(qemu_strtosz_MiB("2b", NULL, &value), ==, 0);
    g_assert_cmpuint(value, ==, 2);
    g_assert_cmpint(qemu_strtosz_metric("12.345k", NULL, &value), ==, 0);
    g_assert_cmpuint(value, ==, 12345);
    g_assert_cmpint(qemu_strtosz("64k,foo", &end, &value), ==, 0);
    g_assert_cmpuint(value, ==, 65536);
    g_assert_cmpstr(end, ==, ",foo");
    g_assert_cmpint(qemu_strtosz("kk", &end, &value), ==, -EINVAL);
    g_assert_cmpstr(end, ==, "kk");
}

static void test_size_to_str(void)
{
    /* What "qemu-img info" of QEMU 7.2 prints for these sizes. */
    static const struct {
        uint64_t value;
        const char *text;
    } cases[] = {
        { 0, "0 B" }, { 512, "512 B" }, { 1024, "1 KiB" },
        { 1022976, "999 KiB" }, { 1024000, "0.977 MiB" },
        { 1047552, "0.999 MiB" }, { 1571840, "1.5 MiB" },
        { 1536000, "1.46 MiB" }, { 10240000, "9.77 MiB" },
        { 1342177280, "1.25 GiB" }, { 1073741824, "1 GiB" },
        { 3298534883328, "3 TiB" }, { UINT64_MAX, "16 EiB" },
    };
    size_t i;

    for (i = 0; i < ARRAY_SIZE(cases); i++) {
        g_autofree char *text = size_to_str(cases[i].value);

        g_assert_cmpstr(text, ==, cases[i].text);
    }
}

static void test_strings(void)
{
    const char *rest = NULL;
    char buf[8];

    g_assert_true(strstart("json:{}", "json:", &rest));
    g_assert_cmpstr(rest, ==, "{}");
    g_assert_false(strstart("jso", "json:", &rest));
    g_assert_false(strstart("JSON:", "json:", NULL));
    g_assert_true(stristart("JSON:x", "json:", &rest));
    g_assert_cmpstr(rest, ==, "x");

    pstrcpy(buf, sizeof(buf), "0123456789");
    g_assert_cmpstr(buf, ==, "0123456");
    pstrcpy(buf, sizeof(buf), "ab");
    g_assert_cmpstr(pstrcat(buf, sizeof(buf), "cdefghij"), ==, "abcdefg");
    pstrcpy(buf, 0, "x");
    g_assert_cmpstr(buf, ==, "abcdefg");
}

static void test_paths(void)
{
    static const struct {
        const char *base, *name, *want;
    } cases[] = {
        { "/a/b.vmdk", "b-flat.vmdk", "/a/b-flat.vmdk" },
        { "b.vmdk", "c", "c" },
        { "dir/b.vmdk", "sub/c", "dir/sub/c" },
        { "dir/", "c", "dir/c" },
        { "/a/b", "/c", "/c" },
        { "nbd:b", "c", "nbd:c" },
        { "file:dir/b", "c", "file:dir/c" },
        { "file:dir/b", "/c", "/c" },
        { "./x:y", "c", "./c" },
        { "", "c", "c" },
    };
    size_t i;

    for (i = 0; i < ARRAY_SIZE(cases); i++) {
        g_autofree char *got = path_combine(cases[i].base, cases[i].name);

        g_assert_cmpstr(got, ==, cases[i].want);
    }
    g_assert_true(path_has_protocol("nbd:x"));
    g_assert_false(path_has_protocol("./nbd:x"));
    g_assert_false(path_has_protocol("x"));
    g_assert_true(path_is_absolute("/x"));
    g_assert_false(path_is_absolute("x/"));
}

/* One byte that is not zero at each place, and just outside of it. */
static void check_is_zero(char *buf, size_t len)
{
    size_t i;

    buf[-1] = buf[len] = 1;
    g_assert_true(buffer_is_zero(buf, len));
    for (i = 0; i < len; i++) {
        buf[i] = 0x80;
        g_assert_false(buffer_is_zero(buf, len));
        buf[i] = 0;
    }
    buf[-1] = buf[len] = 0;
}

static void test_buffer_is_zero(void)
{
    g_autofree char *buf = g_malloc0(4096);
    size_t offset, len;
    int accels = 0;

    do {
        g_test_message("%s", buffer_is_zero_accel_name());
        accels++;
        for (offset = 1; offset <= 65; offset += 3) {
            for (len = 0; len < 1200; len = len < 80 ? len + 1 : len + 59) {
                check_is_zero(buf + offset, len);
            }
            for (len = 255; len <= 258; len++) {
                check_is_zero(buf + offset, len);
            }
        }
    } while (test_buffer_is_zero_next_accel());
    g_assert_cmpint(accels, >=, 1);
}

static void test_memalign(void)
{
    size_t align;

    for (align = 0; align <= 65536; align = align ? align * 2 : 1) {
        QEMU_AUTO_VFREE char *p = qemu_memalign(align, 100);

        g_assert_true(QEMU_PTR_IS_ALIGNED(p, MAX(align, sizeof(void *))));
        memset(p, 1, 100);
    }
    qemu_vfree(qemu_memalign(512, 0));
    qemu_vfree(NULL);
}

static void test_files(void)
{
    char name[] = "/tmp/test-cutils-XXXXXX";
    char buf[20] = "";
    int fd = g_mkstemp(name);

    g_assert_cmpint(fd, >=, 0);
    g_assert_cmpint(qemu_write_full(fd, "0123456789", 10), ==, 10);
    qemu_close(fd);

    fd = qemu_open_old(name, O_RDONLY);
    g_assert_cmpint(fcntl(fd, F_GETFD) & FD_CLOEXEC, ==, FD_CLOEXEC);
    g_assert_cmpint(qemu_read_full(fd, buf, sizeof(buf)), ==, 10);
    g_assert_cmpstr(buf, ==, "0123456789");
    /* The descriptor is for reading. */
    g_assert_cmpint(qemu_write_full(fd, "x", 1), ==, 0);
    g_assert_cmpint(errno, ==, EBADF);
    qemu_close(fd);
    g_assert_cmpint(unlink(name), ==, 0);
    g_assert_cmpint(qemu_open_old(name, O_RDONLY), ==, -1);
    g_assert_cmpint(errno, ==, ENOENT);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/cutils/strtoi", test_strtoi);
    g_test_add_func("/cutils/strtoui", test_strtoui);
    g_test_add_func("/cutils/strto64", test_strto64);
    g_test_add_func("/cutils/parse-uint", test_parse_uint);
    g_test_add_func("/cutils/strtosz/valid", test_strtosz_valid);
    g_test_add_func("/cutils/strtosz/invalid", test_strtosz_invalid);
    g_test_add_func("/cutils/strtosz/units", test_strtosz_units);
    g_test_add_func("/cutils/size-to-str", test_size_to_str);
    g_test_add_func("/cutils/strings", test_strings);
    g_test_add_func("/cutils/paths", test_paths);
    g_test_add_func("/cutils/buffer-is-zero", test_buffer_is_zero);
    g_test_add_func("/oslib/memalign", test_memalign);
    g_test_add_func("/oslib/files", test_files);
    return g_test_run();
}
