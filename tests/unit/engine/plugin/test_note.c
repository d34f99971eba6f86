/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* The ELF note reader: files made here byte by byte, each then spoiled in one place. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <elf.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cwp/plugin.h>

#include "engine/plugin/note.h"

#if defined(__aarch64__)
#define MACHINE EM_AARCH64
#else
#define MACHINE EM_X86_64
#endif

/* header, two program headers, two section headers and null, notes, section names */
struct image {
	Elf64_Ehdr header;
	Elf64_Phdr segment[2];
	Elf64_Shdr section[3];
	struct cwp_plugin_note note;
	struct {
		uint32_t name_size, desc_size, type;
		char name[4];
		uint8_t desc[20];
	} build_id;
	char names[32];
};

static struct image good_image(void)
{
	struct image m;

	memset(&m, 0, sizeof(m));
	memcpy(m.header.e_ident, ELFMAG, SELFMAG);
	m.header.e_ident[EI_CLASS] = ELFCLASS64;
	m.header.e_ident[EI_DATA] = ELFDATA2LSB;
	m.header.e_ident[EI_VERSION] = EV_CURRENT;
	m.header.e_type = ET_DYN;
	m.header.e_machine = MACHINE;
	m.header.e_version = EV_CURRENT;
	m.header.e_phoff = offsetof(struct image, segment);
	m.header.e_phentsize = sizeof(Elf64_Phdr);
	m.header.e_phnum = 2;
	m.header.e_shoff = offsetof(struct image, section);
	m.header.e_shentsize = sizeof(Elf64_Shdr);
	m.header.e_shnum = 3;
	m.header.e_shstrndx = 2;
	m.segment[0].p_type = PT_LOAD;
	m.segment[1].p_type = PT_NOTE;
	m.segment[1].p_offset = offsetof(struct image, note);
	m.segment[1].p_filesz = sizeof(m.note) + sizeof(m.build_id);
	m.segment[1].p_align = 4;
	m.section[1].sh_type = SHT_PROGBITS;
	m.section[1].sh_name = 1;
	m.section[1].sh_offset = offsetof(struct image, note);
	m.section[1].sh_size = sizeof(m.note);
	m.section[1].sh_addralign = 4;
	m.section[2].sh_type = SHT_STRTAB;
	m.section[2].sh_offset = offsetof(struct image, names);
	m.section[2].sh_size = sizeof(m.names);
	memcpy(m.names + 1, CWP_NOTE_SECTION, sizeof(CWP_NOTE_SECTION));
	m.note = (struct cwp_plugin_note){4, 12, CWP_NOTE_TYPE, {'c', 'w', 'p', 0}, 1, 0, CWP_KIND_QUANTIZER};
	m.build_id.name_size = 4;
	m.build_id.desc_size = 20;
	m.build_id.type = NT_GNU_BUILD_ID;
	memcpy(m.build_id.name, "GNU", 4);
	for (int i = 0; i < 20; i++) {
		m.build_id.desc[i] = (uint8_t)(0xa0 + i);
	}
	return m;
}

static int file_of(const void *bytes, size_t size)
{
	int fd = memfd_create("plugin", MFD_CLOEXEC);

	assert_true(fd >= 0);
	assert_int_equal(write(fd, bytes, size), size);
	return fd;
}

static int read_image(const struct image *m, size_t size, struct cwe_note *note, struct cwb_err *err)
{
	int fd = file_of(m, size);

	memset(err, 0, sizeof(*err));
	memset(note, 0, sizeof(*note));
	int rc = cwe_note_read(fd, "x.so", note, err);
	close(fd);
	if (rc < 0) {
		assert_int_equal(err->code, rc);
		assert_non_null(strstr(err->message, "x.so"));
	}
	return rc;
}

#define REFUSES(m, size, expected, text)                                       \
	do {                                                                   \
		struct cwe_note n_;                                            \
		struct cwb_err e_;                                             \
		assert_int_equal(read_image((m), (size), &n_, &e_), (expected)); \
		if (strstr(e_.message, (text)) == NULL) {                      \
			fail_msg("'%s' lacks '%s'", e_.message, (text));       \
		}                                                              \
	} while (0)

static void test_good(void **state)
{
	struct image m = good_image();
	struct cwe_note note;
	struct cwb_err err;
	char id[65];

	(void)state;
	assert_int_equal(read_image(&m, sizeof(m), &note, &err), 0);
	assert_int_equal(note.abi_major, 1);
	assert_int_equal(note.abi_minor, 0);
	assert_int_equal(note.kind, CWP_KIND_QUANTIZER);
	int fd = file_of(&m, sizeof(m));
	assert_int_equal(cwe_note_build_id(fd, "x.so", id, &err), 0);
	assert_string_equal(id, "a0a1a2a3a4a5a6a7a8a9aaabacadaeafb0b1b2b3");
	close(fd);
	/* Without the segment the section still leads to it, and there is no build id then. */
	m.segment[1].p_type = PT_NULL;
	assert_int_equal(read_image(&m, sizeof(m), &note, &err), 0);
	assert_int_equal(note.kind, CWP_KIND_QUANTIZER);
	fd = file_of(&m, sizeof(m));
	assert_int_equal(cwe_note_build_id(fd, "x.so", id, &err), 0);
	assert_string_equal(id, "");
	close(fd);
	/* Without sections the segment is enough. */
	m = good_image();
	m.header.e_shnum = 0;
	m.header.e_shoff = UINT64_MAX;
	assert_int_equal(read_image(&m, sizeof(m), &note, &err), 0);
}

static void test_not_elf(void **state)
{
	struct image m = good_image();

	(void)state;
	REFUSES(&m, 0, CWP_EFORMAT, "too short");
	REFUSES(&m, sizeof(m.header) - 1, CWP_EFORMAT, "too short");
	m.header.e_ident[0] = 'X';
	REFUSES(&m, sizeof(m), CWP_EFORMAT, "not an ELF file");
	m = good_image();
	m.header.e_ident[EI_CLASS] = ELFCLASS32;
	REFUSES(&m, sizeof(m), CWP_EFORMAT, "64-bit");
	m = good_image();
	m.header.e_ident[EI_DATA] = ELFDATA2MSB;
	REFUSES(&m, sizeof(m), CWP_EFORMAT, "little-endian");
	m = good_image();
	m.header.e_machine = EM_S390;
	REFUSES(&m, sizeof(m), CWP_EFORMAT, "machine 22");
	m = good_image();
	m.header.e_type = ET_EXEC;
	REFUSES(&m, sizeof(m), CWP_EFORMAT, "-shared");
}

static void test_truncated(void **state)
{
	struct image m = good_image();
	struct cwe_note note;
	struct cwb_err err;

	(void)state;
	/* Cut anywhere before the end of what the note needs, it is refused; never is more read than is there. */
	for (size_t size = 0; size < offsetof(struct image, note) + sizeof(m.note); size++) {
		assert_int_equal(read_image(&m, size, &note, &err), CWP_EFORMAT);
	}
}

static void test_lying_headers(void **state)
{
	struct image m = good_image();

	(void)state;
	m.header.e_phoff = UINT64_MAX - 8;
	REFUSES(&m, sizeof(m), CWP_EFORMAT, "bytes from");
	m = good_image();
	m.header.e_phentsize = 32;
	REFUSES(&m, sizeof(m), CWP_EFORMAT, "program headers");
	m = good_image();
	m.header.e_phnum = PN_XNUM;
	REFUSES(&m, sizeof(m), CWP_EFORMAT, "program headers");
	m = good_image();
	m.segment[1].p_offset = UINT64_MAX - 3;
	REFUSES(&m, sizeof(m), CWP_EFORMAT, "bytes from");
	m = good_image();
	m.segment[1].p_filesz = UINT64_MAX;
	REFUSES(&m, sizeof(m), CWP_EFORMAT, "at most");
	m = good_image();
	m.segment[1].p_filesz = sizeof(m);
	REFUSES(&m, sizeof(m), CWP_EFORMAT, "bytes from");
}

static void test_lying_sections(void **state)
{
	struct image m = good_image();

	(void)state;
	m.segment[1].p_type = PT_NULL;
	m.section[1].sh_size = UINT64_MAX;
	REFUSES(&m, sizeof(m), CWP_EFORMAT, "at most");
	m.section[1].sh_size = 4096;
	REFUSES(&m, sizeof(m), CWP_EFORMAT, "bytes from");
	m.section[1].sh_size = sizeof(m.note);
	m.section[1].sh_name = UINT32_MAX;
	REFUSES(&m, sizeof(m), CWP_EABI, "no ABI note");
	m.section[1].sh_name = sizeof(m.names) - 3;
	REFUSES(&m, sizeof(m), CWP_EABI, "no ABI note");
	m.section[1].sh_name = 1;
	m.section[1].sh_type = SHT_NOBITS;
	REFUSES(&m, sizeof(m), CWP_EABI, "no ABI note");
	m.header.e_shstrndx = 3;
	REFUSES(&m, sizeof(m), CWP_EFORMAT, "section headers");
	m.header.e_shstrndx = 2;
	m.header.e_shentsize = 1;
	REFUSES(&m, sizeof(m), CWP_EFORMAT, "section headers");
	m = good_image();
	m.segment[1].p_type = PT_NULL;
	m.header.e_shoff = sizeof(m) - 8;
	REFUSES(&m, sizeof(m), CWP_EFORMAT, "bytes from");
	m = good_image();
	m.segment[1].p_type = PT_NULL;
	m.section[2].sh_size = UINT64_MAX;
	REFUSES(&m, sizeof(m), CWP_EFORMAT, "section names");
}

static void test_odd_notes(void **state)
{
	struct image m = good_image();
	struct cwe_note note;
	struct cwb_err err;

	(void)state;
	m.note.name[0] = 'x';
	REFUSES(&m, sizeof(m), CWP_EABI, "no ABI note");
	m = good_image();
	m.note.type = 2;
	REFUSES(&m, sizeof(m), CWP_EABI, "no ABI note");
	m = good_image();
	m.note.desc_size = 8;
	REFUSES(&m, sizeof(m), CWP_EABI, "shorter than 12");
	m = good_image();
	m.note.desc_size = UINT32_MAX;
	REFUSES(&m, sizeof(m), CWP_EABI, "no ABI note");
	m = good_image();
	m.note.name_size = UINT32_MAX;
	REFUSES(&m, sizeof(m), CWP_EABI, "no ABI note");
	/* A second note of ours, in the build id's place. */
	m = good_image();
	memcpy(&m.build_id, &m.note, sizeof(m.note));
	assert_int_equal(read_image(&m, sizeof(m), &note, &err), 0);
	((struct cwp_plugin_note *)&m.build_id)->kind = CWP_KIND_SCORER;
	REFUSES(&m, sizeof(m), CWP_EABI, "contradict");
}

static void test_other_files(void **state)
{
	struct cwe_note note;
	struct cwb_err err = {0};
	int ends[2];

	(void)state;
	assert_int_equal(pipe(ends), 0);
	assert_int_equal(cwe_note_read(ends[0], "pipe", &note, &err), CWP_EFORMAT);
	assert_non_null(strstr(err.message, "regular file"));
	close(ends[0]);
	close(ends[1]);
	cwb_err_clear(&err);
	assert_true(cwe_note_read(-1, "closed", &note, &err) < 0);
}

static void test_versions(void **state)
{
	struct cwe_note note = {CWP_ABI_MAJOR, CWP_ABI_MINOR, CWP_KIND_SCORER};
	struct cwb_err err = {0};

	(void)state;
	assert_int_equal(cwe_note_check(&note, "y.so", &err), 0);
	note.abi_minor = CWP_ABI_MINOR + 1;
	assert_int_equal(cwe_note_check(&note, "y.so", &err), CWP_EABI);
	assert_non_null(strstr(err.message, "y.so: built for plugin ABI 1.1, this host has 1.0; upgrade"));
	cwb_err_clear(&err);
	note = (struct cwe_note){0, 9, CWP_KIND_SCORER};
	assert_int_equal(cwe_note_check(&note, "y.so", &err), CWP_EABI);
	assert_non_null(strstr(err.message, "0.9, this host has 1.0"));
	assert_non_null(strstr(err.message, "rebuild"));
	cwb_err_clear(&err);
	note = (struct cwe_note){CWP_ABI_MAJOR, CWP_ABI_MINOR, 77};
	assert_int_equal(cwe_note_check(&note, "y.so", &err), CWP_EABI);
	assert_non_null(strstr(err.message, "kind 77"));
	assert_string_equal(cwe_kind_name(CWP_KIND_SCORER), "scorer");
	assert_string_equal(cwe_kind_name(CWP_KIND_QUANTIZER), "quantizer");
	assert_string_equal(cwe_kind_name(CWP_KIND_BACKEND), "backend");
	assert_string_equal(cwe_kind_name(CWP_KIND_EVALUATOR), "evaluator");
	assert_null(cwe_kind_name(0));
	assert_null(cwe_kind_name(5));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_good),
		cmocka_unit_test(test_not_elf),
		cmocka_unit_test(test_truncated),
		cmocka_unit_test(test_lying_headers),
		cmocka_unit_test(test_lying_sections),
		cmocka_unit_test(test_odd_notes),
		cmocka_unit_test(test_other_files),
		cmocka_unit_test(test_versions),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
