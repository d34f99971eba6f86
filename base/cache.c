/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* Entries with a size limit and an age, shared by processes. One lock, of the cache's folder, is held while entries are
 * looked through, named or removed; an entry's own lock, shared, says that it is in use. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "base/cache.h"
#include "base/file.h"

/* Followed by the bytes that are set aside and a random number. */
#define NEW_PREFIX ".new-"
#define LOCK_TRIES 1200
#define LOCK_PAUSE 50000000 /* ns */

struct item {
	char name[CWB_DIGEST_HEX + 32];
	uint64_t bytes;
	struct timespec used;
	int made; /* 0: in the making */
};

struct list {
	struct item *item;
	size_t n;
	uint64_t total;
};

int cwb_cache_open(const char *path, uint64_t size, uint64_t age, struct cwb_cache *ret, struct cwb_err *err)
{
	struct stat st;
	int r = cwb_file_make_folders(path, 0700, err);
	if (r != 0) {
		return r;
	}
	int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (fd < 0 || fstat(fd, &st) != 0) {
		r = cwb_err_errno(err, "cache folder %s", path);
	} else if (st.st_uid != geteuid() || (st.st_mode & (S_IWGRP | S_IWOTH)) != 0) {
		r = cwb_err_set(err, CWP_EDENIED, "cache folder %s: others may change it; give one that is your own, of mode 0700", path);
	}
	if (r != 0) {
		if (fd >= 0) {
			(void)close(fd);
		}
		return r;
	}
	*ret = (struct cwb_cache){.folder = fd, .device = st.st_dev, .size = size, .age = age};
	return 0;
}

void cwb_cache_close(struct cwb_cache *c)
{
	if (c->folder >= 0) {
		(void)close(c->folder);
	}
	c->folder = -1;
}

/* A description of its own, so that threads of one process exclude each other too. */
static int lock(const struct cwb_cache *c, struct cwb_err *err)
{
	const struct timespec pause = {.tv_nsec = LOCK_PAUSE};
	int fd = openat(c->folder, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (fd < 0) {
		return cwb_err_errno(err, "cache: its folder cannot be opened");
	}
	for (int i = 0; flock(fd, LOCK_EX | LOCK_NB) != 0; i++) {
		if (i == LOCK_TRIES || (errno != EWOULDBLOCK && errno != EINTR)) {
			int r = errno == EWOULDBLOCK ? cwb_err_set(err, -EAGAIN, "cache: another process holds its lock")
						     : cwb_err_errno(err, "cache: it cannot be locked");
			(void)close(fd);
			return r;
		}
		(void)nanosleep(&pause, NULL); /* cut short is fine */
	}
	return fd;
}

uint64_t cwb_cache_measure(int folder, const char *name)
{
	int fd = openat(folder, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	DIR *dir = fd >= 0 ? fdopendir(fd) : NULL;
	uint64_t bytes = 0;
	if (dir == NULL) {
		if (fd >= 0) {
			(void)close(fd);
		}
		return 0;
	}
	for (const struct dirent *e; (e = readdir(dir)) != NULL;) {
		struct stat st;
		if (fstatat(fd, e->d_name, &st, AT_SYMLINK_NOFOLLOW) == 0 && S_ISREG(st.st_mode)) {
			bytes += (uint64_t)st.st_size;
		}
	}
	(void)closedir(dir);
	return bytes;
}

/* Whether the name is one of ours, and the bytes that it says are set aside. */
static int read_name(const char *name, struct item *item)
{
	memset(item, 0, sizeof *item);
	item->made = cwb_digest_is_hex(name);
	int end = 0;
	if (strlen(name) >= sizeof item->name ||
		(!item->made && (sscanf(name, NEW_PREFIX "%20" SCNu64 "-%n", &item->bytes, &end) != 1 || end == 0))) {
		return 0;
	}
	memcpy(item->name, name, strlen(name) + 1);
	return 1;
}

static int add(struct list *list, const struct item *item)
{
	struct item *more = reallocarray(list->item, list->n + 1, sizeof *more);
	if (more == NULL) {
		return -ENOMEM;
	}
	list->item = more;
	list->item[list->n++] = *item;
	list->total += item->bytes;
	return 0;
}

static int older(const void *a, const void *b)
{
	const struct item *x = a, *y = b;
	int seconds = (x->used.tv_sec > y->used.tv_sec) - (x->used.tv_sec < y->used.tv_sec);
	return seconds != 0 ? seconds : (x->used.tv_nsec > y->used.tv_nsec) - (x->used.tv_nsec < y->used.tv_nsec);
}

/* Entries, least recently used first, and what is in the making. Under the lock, as all below. */
static int look(int folder, struct list *ret, struct cwb_err *err)
{
	int fd = openat(folder, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC), r = 0;
	DIR *dir = fd >= 0 ? fdopendir(fd) : NULL;
	memset(ret, 0, sizeof *ret);
	if (dir == NULL) {
		r = cwb_err_errno(err, "cache: its folder cannot be read");
		if (fd >= 0) {
			(void)close(fd);
		}
		return r;
	}
	for (const struct dirent *e; r == 0 && (e = readdir(dir)) != NULL;) {
		struct item item;
		struct stat st;
		if (read_name(e->d_name, &item) && fstatat(folder, item.name, &st, AT_SYMLINK_NOFOLLOW) == 0) {
			item.used = st.st_mtim;
			item.bytes = item.made ? cwb_cache_measure(folder, item.name) : item.bytes;
			r = add(ret, &item) == 0 ? 0 : cwb_err_set(err, -ENOMEM, "no memory for the list of a cache");
		}
	}
	(void)closedir(dir);
	if (r != 0) {
		free(ret->item);
	} else if (ret->n > 0) {
		qsort(ret->item, ret->n, sizeof *ret->item, older);
	}
	return r;
}

/* Removes an entry that nobody uses; 1 where it is gone. */
static int evict(int folder, struct list *list, struct item *item)
{
	int fd = openat(folder, item->name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC), gone = 0;
	if (fd < 0 && errno != ENOTDIR && errno != ELOOP) {
		return 0;
	}
	if (fd < 0 || flock(fd, LOCK_EX | LOCK_NB) == 0) {
		gone = cwb_file_remove_tree(folder, item->name, NULL) == 0;
	}
	if (fd >= 0) {
		(void)close(fd);
	}
	if (gone) {
		list->total -= item->bytes;
		item->name[0] = '\0';
	}
	return gone;
}

static int trim(struct cwb_cache *c, int folder, uint64_t room, struct cwb_err *err)
{
	struct list list;
	struct timespec now;
	int r = look(folder, &list, err);
	if (r != 0) {
		return r;
	}
	(void)clock_gettime(CLOCK_REALTIME, &now);
	for (size_t i = 0; i < list.n; i++) {
		/* What is in the making has its maker's lock, unless the maker died. */
		if (!list.item[i].made || (c->age > 0 && now.tv_sec - list.item[i].used.tv_sec > (time_t)c->age)) {
			(void)evict(folder, &list, &list.item[i]);
		}
	}
	int fits = room <= c->size;
	uint64_t most = fits ? c->size - room : c->size;
	for (size_t i = 0; i < list.n && list.total > most; i++) {
		if (list.item[i].name[0] != '\0' && list.item[i].made) {
			(void)evict(folder, &list, &list.item[i]);
		}
	}
	if (!fits || list.total > most) {
		r = cwb_err_set(err, -ENOSPC, "cache: %" PRIu64 " bytes do not fit, with %" PRIu64 " of %" PRIu64 " in use", room,
			list.total, c->size);
	}
	free(list.item);
	return r;
}

int cwb_cache_trim(struct cwb_cache *c, uint64_t room, struct cwb_err *err)
{
	int held = lock(c, err);
	if (held < 0) {
		return held;
	}
	int r = trim(c, c->folder, room, err);
	(void)close(held);
	return r;
}

uint64_t cwb_cache_shrink(struct cwb_cache *c, uint64_t bytes)
{
	struct list list;
	int held = lock(c, NULL);
	if (held < 0) {
		return 0;
	}
	uint64_t freed = 0;
	if (look(c->folder, &list, NULL) == 0) {
		const uint64_t before = list.total;
		for (size_t i = 0; i < list.n && freed < bytes; i++) {
			(void)evict(c->folder, &list, &list.item[i]);
			freed = before - list.total;
		}
		free(list.item);
	}
	(void)close(held);
	return freed;
}

/* Whether the name still stands for the open folder. */
static int is_named(const struct cwb_cache *c, const char *name, int fd)
{
	struct stat a, b;
	return fstat(fd, &a) == 0 && fstatat(c->folder, name, &b, AT_SYMLINK_NOFOLLOW) == 0 && a.st_dev == b.st_dev &&
		a.st_ino == b.st_ino;
}

int cwb_cache_take(struct cwb_cache *c, const char *key, int *ret_fd, struct cwb_err *err)
{
	int fd = openat(c->folder, key, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	if (fd < 0) {
		return cwb_err_errno(err, "cache: entry %s", key);
	}
	/* One that cannot be locked is being removed. */
	if (flock(fd, LOCK_SH | LOCK_NB) != 0 || !is_named(c, key, fd)) {
		(void)close(fd);
		return cwb_err_set(err, -ENOENT, "cache: entry %s is gone", key);
	}
	(void)futimens(fd, NULL); /* else it only looks older than it is */
	*ret_fd = fd;
	return 0;
}

void cwb_cache_drop(struct cwb_cache *c, const char *key, int *fd)
{
	int held = lock(c, NULL);
	if (held >= 0 && is_named(c, key, *fd)) {
		(void)cwb_file_remove_tree(c->folder, key, NULL); /* found again where it cannot be */
	}
	if (held >= 0) {
		(void)close(held);
	}
	(void)close(*fd);
	*fd = -1;
}

int cwb_cache_begin(struct cwb_cache *c, const char *key, uint64_t bytes, struct cwb_cache_new *ret, struct cwb_err *err)
{
	struct cwb_cache_new e = {.fd = -1};
	uint64_t number = 0;
	if (getrandom(&number, sizeof number, 0) != (ssize_t)sizeof number) {
		return cwb_err_errno(err, "cache: no random number for a name");
	}
	(void)snprintf(e.key, sizeof e.key, "%s", key);
	(void)snprintf(e.temp, sizeof e.temp, NEW_PREFIX "%020" PRIu64 "-%016" PRIx64, bytes, number);
	int held = lock(c, err);
	if (held < 0) {
		return held;
	}
	int r = trim(c, c->folder, bytes, err);
	if (r == 0 && mkdirat(c->folder, e.temp, 0700) != 0) {
		r = cwb_err_errno(err, "cache: a folder for a new entry");
	}
	if (r == 0) {
		e.fd = openat(c->folder, e.temp, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
		r = e.fd >= 0 && flock(e.fd, LOCK_EX | LOCK_NB) == 0 ? 0 : cwb_err_errno(err, "cache: the folder of a new entry");
	}
	(void)close(held);
	if (r != 0) {
		cwb_cache_abort(c, &e);
		return r;
	}
	*ret = e;
	return 0;
}

int cwb_cache_commit(struct cwb_cache *c, struct cwb_cache_new *e, int *ret_fd, struct cwb_err *err)
{
	int held = lock(c, err);
	int r = held < 0 ? held : cwb_file_sync_folder(e->fd, "cache", err);
	if (r == 0 && renameat(c->folder, e->temp, c->folder, e->key) == 0) {
		*ret_fd = e->fd;
		e->fd = -1;
		(void)flock(*ret_fd, LOCK_SH); /* nobody looks for locks before `held` is closed */
		(void)futimens(*ret_fd, NULL);
		(void)cwb_file_sync_folder(c->folder, "cache", NULL); /* lost with the power: made again */
	} else if (r == 0 && (errno == EEXIST || errno == ENOTEMPTY)) {
		r = cwb_cache_take(c, e->key, ret_fd, err);
	} else if (r == 0) {
		r = cwb_err_errno(err, "cache: naming entry %s", e->key);
	}
	if (held >= 0) {
		(void)close(held);
	}
	cwb_cache_abort(c, e);
	return r;
}

void cwb_cache_abort(struct cwb_cache *c, struct cwb_cache_new *e)
{
	if (e->fd >= 0) {
		(void)cwb_file_remove_tree(c->folder, e->temp, NULL); /* else the next trim does it */
		(void)close(e->fd);
	}
	e->fd = -1;
}
