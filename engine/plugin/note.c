/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* Bounded reader of the notes in an ELF shared object: every offset and size is checked against the file before
 * use, nothing is mapped, and the work is limited whatever the headers claim. */
#include <elf.h>
#include <endian.h>
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cwp/plugin.h>

#include "engine/plugin/note.h"

#if defined(__x86_64__)
#define OUR_MACHINE EM_X86_64
#elif defined(__aarch64__)
#define OUR_MACHINE EM_AARCH64
#elif defined(__riscv) && __riscv_xlen == 64
#define OUR_MACHINE EM_RISCV
#elif defined(__powerpc64__) && __BYTE_ORDER == __LITTLE_ENDIAN
#define OUR_MACHINE EM_PPC64
#elif defined(__loongarch64)
#define OUR_MACHINE EM_LOONGARCH
#else
#error "add this machine's e_machine number"
#endif

#define REMEDY "; give the path of a plugin built for this machine"

enum {
	MAX_SEGMENTS = 256,
	MAX_SECTIONS = 4096,
	MAX_NOTES = 1 << 16, /* bytes of one note segment or section */
	MAX_NAMES = 1 << 20  /* bytes of the section name table */
};

struct elf {
	int fd;
	const char *path;
	uint64_t size;
	Elf64_Ehdr header;
};

/* What a walk over the notes looks for and what it has found. */
struct finding {
	struct cwe_note note;
	unsigned notes;      /* notes of ours */
	int contradict;      /* two notes of ours differ */
	int malformed;       /* one of ours is too short */
	char build_id[65];
};

/* Reads exactly n bytes at offset, which must lie in the file. */
static int read_at(const struct elf *e, uint64_t offset, void *buffer, uint64_t n, struct cwb_err *err)
{
	uint64_t end;

	if (__builtin_add_overflow(offset, n, &end) || end > e->size) {
		return cwb_err_set(err, CWP_EFORMAT,
			"%s: ELF headers point at %" PRIu64 " bytes from %" PRIu64 ", the file has %" PRIu64 REMEDY,
			e->path, n, offset, e->size);
	}
	for (uint64_t done = 0; done < n;) {
		ssize_t got = pread(e->fd, (char *)buffer + done, n - done, (off_t)(offset + done));
		if (got < 0 && errno == EINTR) {
			continue;
		}
		if (got < 0) {
			return cwb_err_errno(err, "%s", e->path);
		}
		if (got == 0) {
			return cwb_err_set(err, CWP_EFORMAT, "%s: the file became shorter while it was read", e->path);
		}
		done += (uint64_t)got;
	}
	return 0;
}

static int elf_open(struct elf *e, int fd, const char *path, struct cwb_err *err)
{
	struct stat st;
	const Elf64_Ehdr *h = &e->header;

	e->fd = fd;
	e->path = path;
	if (fstat(fd, &st) < 0) {
		return cwb_err_errno(err, "%s", path);
	}
	if (!S_ISREG(st.st_mode)) {
		return cwb_err_set(err, CWP_EFORMAT, "%s: not a regular file" REMEDY, path);
	}
	e->size = (uint64_t)st.st_size;
	if (e->size < sizeof(*h)) {
		return cwb_err_set(err, CWP_EFORMAT, "%s: %" PRIu64 " bytes are too short for an ELF file" REMEDY, path, e->size);
	}
	int rc = read_at(e, 0, &e->header, sizeof(*h), err);
	if (rc < 0) {
		return rc;
	}
	if (memcmp(h->e_ident, ELFMAG, SELFMAG) != 0) {
		return cwb_err_set(err, CWP_EFORMAT, "%s: not an ELF file" REMEDY, path);
	}
	if (h->e_ident[EI_CLASS] != ELFCLASS64 || h->e_ident[EI_DATA] != ELFDATA2LSB || h->e_version != EV_CURRENT) {
		return cwb_err_set(err, CWP_EFORMAT, "%s: not a 64-bit little-endian ELF file" REMEDY, path);
	}
	if (h->e_machine != OUR_MACHINE) {
		return cwb_err_set(err, CWP_EFORMAT, "%s: built for ELF machine %u, this one is %u" REMEDY, path,
			(unsigned)h->e_machine, (unsigned)OUR_MACHINE);
	}
	if (h->e_type != ET_DYN) {
		return cwb_err_set(err, CWP_EFORMAT, "%s: ELF type %u is not a shared object; link it with -shared", path,
			(unsigned)h->e_type);
	}
	return 0;
}

static uint32_t word_at(const unsigned char *p)
{
	uint32_t v;

	memcpy(&v, p, sizeof(v));
	return le32toh(v);
}

static void take_ours(const unsigned char *desc, uint64_t size, struct finding *f)
{
	struct cwe_note n;

	if (size < 12) {
		f->malformed = 1;
		return;
	}
	n.abi_major = word_at(desc);
	n.abi_minor = word_at(desc + 4);
	n.kind = word_at(desc + 8);
	if (f->notes > 0 && (n.abi_major != f->note.abi_major || n.abi_minor != f->note.abi_minor ||
				    n.kind != f->note.kind)) {
		f->contradict = 1;
	}
	if (f->notes == 0) {
		f->note = n;
	}
	f->notes++;
}

static void take_build_id(const unsigned char *desc, uint64_t size, struct finding *f)
{
	static const char digit[] = "0123456789abcdef";

	if (size == 0 || size > 32 || f->build_id[0] != '\0') {
		return;
	}
	for (uint64_t i = 0; i < size; i++) {
		f->build_id[2 * i] = digit[desc[i] >> 4];
		f->build_id[2 * i + 1] = digit[desc[i] & 15];
	}
	f->build_id[2 * size] = '\0';
}

/* Goes through a block of notes; a note that does not fit ends the walk. align: 4, or 8 for the notes that say so. */
static void walk_notes(const unsigned char *p, uint64_t size, uint64_t align, struct finding *f)
{
	uint64_t at = 0;

	while (size - at >= 12) {
		uint64_t name_size = word_at(p + at), desc_size = word_at(p + at + 4);
		uint32_t type = word_at(p + at + 8);
		/* All sums stay far below 2^64: both sizes are 32-bit numbers. */
		uint64_t desc_at = (at + 12 + name_size + align - 1) & ~(align - 1);
		uint64_t next = (desc_at + desc_size + align - 1) & ~(align - 1);
		const char *name = (const char *)p + at + 12;

		if (desc_at + desc_size > size) {
			return;
		}
		if (name_size == 4 && type == CWP_NOTE_TYPE && memcmp(name, CWP_NOTE_NAME, 4) == 0) {
			take_ours(p + desc_at, desc_size, f);
		} else if (name_size == 4 && type == NT_GNU_BUILD_ID && memcmp(name, ELF_NOTE_GNU, 4) == 0) {
			take_build_id(p + desc_at, desc_size, f);
		}
		if (next >= size) {
			return;
		}
		at = next;
	}
}

static int walk_at(const struct elf *e, uint64_t offset, uint64_t size, uint64_t align, struct finding *f, struct cwb_err *err)
{
	if (size == 0) {
		return 0;
	}
	if (size > MAX_NOTES) {
		return cwb_err_set(err, CWP_EFORMAT, "%s: notes of %" PRIu64 " bytes, at most %d are read" REMEDY, e->path, size,
			MAX_NOTES);
	}
	unsigned char *p = malloc(size);
	if (p == NULL) {
		return cwb_err_set(err, -ENOMEM, "%s: no memory for notes of %" PRIu64 " bytes", e->path, size);
	}
	int rc = read_at(e, offset, p, size, err);
	if (rc == 0) {
		walk_notes(p, size, align == 8 ? 8 : 4, f);
	}
	free(p);
	return rc;
}

static int scan_segments(const struct elf *e, struct finding *f, struct cwb_err *err)
{
	const Elf64_Ehdr *h = &e->header;

	if (h->e_phnum == 0) {
		return 0;
	}
	if (h->e_phentsize != sizeof(Elf64_Phdr) || h->e_phnum > MAX_SEGMENTS) {
		return cwb_err_set(err, CWP_EFORMAT, "%s: %u program headers of %u bytes, expected at most %d of %zu" REMEDY, e->path,
			(unsigned)h->e_phnum, (unsigned)h->e_phentsize, MAX_SEGMENTS, sizeof(Elf64_Phdr));
	}
	for (unsigned i = 0; i < h->e_phnum; i++) {
		Elf64_Phdr segment = {0};
		uint64_t at;
		if (__builtin_add_overflow(h->e_phoff, (uint64_t)i * sizeof(segment), &at)) {
			at = UINT64_MAX; /* read_at refuses it */
		}
		int rc = read_at(e, at, &segment, sizeof(segment), err);
		if (rc == 0 && segment.p_type == PT_NOTE) {
			rc = walk_at(e, segment.p_offset, segment.p_filesz, segment.p_align, f, err);
		}
		if (rc < 0) {
			return rc;
		}
	}
	return 0;
}

/* Is names[at] the text of our section's name? The table need not end with a NUL. */
static int is_our_section(const char *names, uint64_t size, uint32_t at)
{
	return at < size && size - at >= sizeof(CWP_NOTE_SECTION) &&
	       memcmp(names + at, CWP_NOTE_SECTION, sizeof(CWP_NOTE_SECTION)) == 0;
}

static int scan_named_sections(const struct elf *e, const Elf64_Shdr *section, unsigned count, struct finding *f, struct cwb_err *err)
{
	const Elf64_Shdr *table = &section[e->header.e_shstrndx];

	if (table->sh_size > MAX_NAMES) {
		return cwb_err_set(err, CWP_EFORMAT, "%s: section names of %" PRIu64 " bytes, at most %d are read" REMEDY, e->path,
			(uint64_t)table->sh_size, MAX_NAMES);
	}
	char *names = malloc(table->sh_size + 1);
	if (names == NULL) {
		return cwb_err_set(err, -ENOMEM, "%s: no memory for section names", e->path);
	}
	int rc = read_at(e, table->sh_offset, names, table->sh_size, err);
	for (unsigned i = 0; rc == 0 && i < count; i++) {
		if (section[i].sh_type != SHT_NOBITS && is_our_section(names, table->sh_size, section[i].sh_name)) {
			rc = walk_at(e, section[i].sh_offset, section[i].sh_size, section[i].sh_addralign, f, err);
		}
	}
	free(names);
	return rc;
}

/* Some compilers mark the section as ordinary data, and then no PT_NOTE covers it: found by its name. */
static int scan_sections(const struct elf *e, struct finding *f, struct cwb_err *err)
{
	const Elf64_Ehdr *h = &e->header;

	if (h->e_shnum == 0 || h->e_shstrndx == SHN_UNDEF) {
		return 0;
	}
	if (h->e_shentsize != sizeof(Elf64_Shdr) || h->e_shnum > MAX_SECTIONS || h->e_shstrndx >= h->e_shnum) {
		return cwb_err_set(err, CWP_EFORMAT,
			"%s: %u section headers of %u bytes, names in number %u: expected at most %d of %zu" REMEDY, e->path,
			(unsigned)h->e_shnum, (unsigned)h->e_shentsize, (unsigned)h->e_shstrndx, MAX_SECTIONS, sizeof(Elf64_Shdr));
	}
	Elf64_Shdr *section = calloc(h->e_shnum, sizeof(*section));
	if (section == NULL) {
		return cwb_err_set(err, -ENOMEM, "%s: no memory for section headers", e->path);
	}
	int rc = read_at(e, h->e_shoff, section, (uint64_t)h->e_shnum * sizeof(*section), err);
	if (rc == 0) {
		rc = scan_named_sections(e, section, h->e_shnum, f, err);
	}
	free(section);
	return rc;
}

int cwe_note_read(int fd, const char *path, struct cwe_note *ret, struct cwb_err *err)
{
	struct elf e = {0};
	struct finding f = {0};

	int rc = elf_open(&e, fd, path, err);
	if (rc == 0) {
		rc = scan_segments(&e, &f, err);
	}
	if (rc == 0 && f.notes == 0 && !f.malformed) {
		rc = scan_sections(&e, &f, err);
	}
	if (rc < 0) {
		return rc;
	}
	if (f.malformed) {
		return cwb_err_set(err, CWP_EABI, "%s: its ABI note is shorter than 12 bytes; rebuild it with CWP_PLUGIN_NOTE of <cwp/plugin.h>",
			path);
	}
	if (f.notes == 0) {
		return cwb_err_set(err, CWP_EABI,
			"%s: no ABI note, so it is not a plugin of ours; add CWP_PLUGIN_NOTE(kind) of <cwp/plugin.h> and rebuild it", path);
	}
	if (f.contradict) {
		return cwb_err_set(err, CWP_EABI, "%s: two ABI notes that contradict each other; keep one CWP_PLUGIN_NOTE a file", path);
	}
	*ret = f.note;
	return 0;
}

int cwe_note_build_id(int fd, const char *path, char ret_hex[65], struct cwb_err *err)
{
	struct elf e = {0};
	struct finding f = {0};

	int rc = elf_open(&e, fd, path, err);
	if (rc == 0) {
		rc = scan_segments(&e, &f, err);
	}
	if (rc == 0) {
		memcpy(ret_hex, f.build_id, sizeof(f.build_id));
	}
	return rc;
}

int cwe_note_check(const struct cwe_note *note, const char *path, struct cwb_err *err)
{
	const char *remedy = note->abi_major > CWP_ABI_MAJOR || note->abi_minor > CWP_ABI_MINOR
				     ? "upgrade this host, or rebuild the plugin with its headers"
				     : "rebuild the plugin with this host's headers";

	if (note->abi_major != CWP_ABI_MAJOR || note->abi_minor > CWP_ABI_MINOR) {
		return cwb_err_set(err, CWP_EABI, "%s: built for plugin ABI %" PRIu32 ".%" PRIu32 ", this host has %d.%d; %s", path,
			note->abi_major, note->abi_minor, CWP_ABI_MAJOR, CWP_ABI_MINOR, remedy);
	}
	if (cwe_kind_name(note->kind) == NULL) {
		return cwb_err_set(err, CWP_EABI,
			"%s: its ABI note (%" PRIu32 ".%" PRIu32 ", this host has %d.%d) names the unknown plugin kind %" PRIu32
			"; rebuild the plugin with this host's headers",
			path, note->abi_major, note->abi_minor, CWP_ABI_MAJOR, CWP_ABI_MINOR, note->kind);
	}
	return 0;
}

const char *cwe_kind_name(uint32_t kind)
{
	switch (kind) {
	case CWP_KIND_SCORER:
		return "scorer";
	case CWP_KIND_QUANTIZER:
		return "quantizer";
	case CWP_KIND_BACKEND:
		return "backend";
	case CWP_KIND_EVALUATOR:
		return "evaluator";
	default:
		return NULL;
	}
}
