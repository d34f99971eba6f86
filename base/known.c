/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* A list of digests as a text: a first line, then one line an entry. */
#include "base/known.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/file.h"

#define NAME "digests"
#define FIRST "cwp-digests 1\n"
#define LINE 192 /* five numbers of at most 20 digits, a digest, blanks */
#define SECOND INT64_C(1000000000)
#define YOUNG (2 * SECOND) /* file systems have times of at worst two seconds */

static int64_t nanoseconds(const struct timespec *t)
{
	return (int64_t)t->tv_sec * SECOND + t->tv_nsec;
}

void cwb_known_identify(const struct stat *st, struct cwb_known_file *ret)
{
	*ret = (struct cwb_known_file){.device = (uint64_t)st->st_dev, .inode = (uint64_t)st->st_ino,
		.size = (uint64_t)st->st_size, .modified = nanoseconds(&st->st_mtim), .changed = nanoseconds(&st->st_ctim)};
}

int cwb_known_same(const struct cwb_known_file *a, const struct cwb_known_file *b)
{
	return a->device == b->device && a->inode == b->inode && a->size == b->size && a->modified == b->modified &&
	       a->changed == b->changed;
}

/* Number of the entry of this inode, or count. There is one at most: what a file was before does not come back. */
static size_t place_of(const struct cwb_known *k, const struct cwb_known_file *file)
{
	size_t i = 0;
	while (i < k->count && (k->entry[i].file.device != file->device || k->entry[i].file.inode != file->inode)) {
		i++;
	}
	return i;
}

static void remove_at(struct cwb_known *k, size_t i)
{
	memmove(&k->entry[i], &k->entry[i + 1], (k->count - i - 1) * sizeof *k->entry);
	k->count--;
}

/* As the one used last. */
static int put(struct cwb_known *k, const struct cwb_known_entry *e)
{
	size_t at = place_of(k, &e->file);
	if (k->entry == NULL && (k->entry = malloc(CWB_KNOWN_MAX * sizeof *k->entry)) == NULL) {
		return -ENOMEM;
	}
	if (at < k->count) {
		remove_at(k, at);
	} else if (k->count == CWB_KNOWN_MAX) {
		remove_at(k, 0);
	}
	k->entry[k->count++] = *e;
	return 0;
}

static int read_line(const char *line, struct cwb_known_entry *ret)
{
	struct cwb_known_file *f = &ret->file;
	int end = 0;
	return sscanf(line, "%20" SCNu64 " %20" SCNu64 " %20" SCNu64 " %20" SCNd64 " %20" SCNd64 " %64[0-9a-f]%n", &f->device,
		       &f->inode, &f->size, &f->modified, &f->changed, ret->hex, &end) == 6 &&
	       line[end] == '\0' && cwb_digest_is_hex(ret->hex);
}

void cwb_known_read(struct cwb_known *k, int folder)
{
	char *text = NULL, *end;
	size_t length = 0;
	struct cwb_known_entry e;
	*k = (struct cwb_known){0};
	if (cwb_file_read_at(folder, NAME, (CWB_KNOWN_MAX + 1) * LINE, &text, &length, NULL) != 0) {
		return;
	}
	if (strncmp(text, FIRST, strlen(FIRST)) == 0) {
		for (char *line = text + strlen(FIRST); (end = strchr(line, '\n')) != NULL; line = end + 1) {
			*end = '\0';
			if (!read_line(line, &e) || put(k, &e) != 0) {
				cwb_known_clear(k);
				break;
			}
		}
	}
	free(text);
}

int cwb_known_find(struct cwb_known *k, const struct cwb_known_file *file, char ret_hex[CWB_DIGEST_HEX])
{
	size_t at = place_of(k, file);
	if (at == k->count || !cwb_known_same(&k->entry[at].file, file)) {
		return 0;
	}
	struct cwb_known_entry e = k->entry[at];
	(void)put(k, &e); /* it has its room already */
	memcpy(ret_hex, e.hex, CWB_DIGEST_HEX);
	return 1;
}

int cwb_known_note(struct cwb_known *k, const struct cwb_known_file *file, const char *hex)
{
	struct cwb_known_entry e = {.file = *file};
	memcpy(e.hex, hex, CWB_DIGEST_HEX);
	k->changed = 1;
	return put(k, &e);
}

int cwb_known_add(struct cwb_known *k, const struct cwb_known_file *file, const struct timespec *began, const char *hex)
{
	const int64_t limit = nanoseconds(began) - YOUNG;
	return file->modified > limit || file->changed > limit ? 0 : cwb_known_note(k, file, hex);
}

/* What others wrote since comes first: ours was used last. */
static int merge(struct cwb_known *k, int folder)
{
	struct cwb_known all;
	int r = 0;
	cwb_known_read(&all, folder);
	for (size_t i = 0; r == 0 && i < k->count; i++) {
		r = put(&all, &k->entry[i]);
	}
	if (r == 0) {
		cwb_known_clear(k);
		*k = all;
	} else {
		cwb_known_clear(&all);
	}
	return r;
}

int cwb_known_write(struct cwb_known *k, int folder, struct cwb_err *err)
{
	if (!k->changed) {
		return 0;
	}
	char *text = merge(k, folder) == 0 ? malloc((k->count + 1) * LINE) : NULL;
	if (text == NULL) {
		return cwb_err_set(err, -ENOMEM, "no memory for the list of digests");
	}
	size_t at = (size_t)snprintf(text, LINE, "%s", FIRST);
	for (size_t i = 0; i < k->count; i++) {
		const struct cwb_known_file *f = &k->entry[i].file;
		at += (size_t)snprintf(text + at, LINE, "%" PRIu64 " %" PRIu64 " %" PRIu64 " %" PRId64 " %" PRId64 " %s\n", f->device,
			f->inode, f->size, f->modified, f->changed, k->entry[i].hex);
	}
	int r = cwb_file_replace(folder, NAME, text, at, 0600, err);
	free(text);
	k->changed = r != 0;
	return r;
}

void cwb_known_clear(struct cwb_known *k)
{
	free(k->entry);
	*k = (struct cwb_known){0};
}
