/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* Folders: made with those above them, brought to the disk, removed without following links. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/file.h"

enum { DEEPEST = 128 };

int cwb_file_sync_folder(int folder, const char *path, struct cwb_err *err)
{
	int rc = 0;
	/* The given descriptor may be O_PATH or AT_FDCWD; fsync needs one that is open for reading.
	 */
	int fd = openat(folder, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);

	if (fd < 0) {
		return cwb_err_errno(err, "%s: cannot open its folder", path);
	}
	/* EINVAL: a file system that has no fsync for folders. */
	if (fsync(fd) < 0 && errno != EINVAL) {
		rc = cwb_err_errno(err, "%s: cannot bring its folder to the disk", path);
	}
	close(fd);
	return rc;
}

static int make_folder(const char *path, mode_t mode, struct cwb_err *err)
{
	struct stat st;

	if (mkdir(path, mode) == 0) {
		return 0;
	}
	int reason = errno;
	if (stat(path, &st) == 0) {
		if (S_ISDIR(st.st_mode)) {
			return 0;
		}
		return cwb_err_set(err, -ENOTDIR, "%s: exists and is not a folder", path);
	}
	errno = reason;
	return cwb_err_errno(err, "%s: cannot make this folder", path);
}

int cwb_file_make_folders(const char *path, mode_t mode, struct cwb_err *err)
{
	int rc = 0;
	char *copy = strdup(path);

	if (copy == NULL) {
		return cwb_err_set(err, -ENOMEM, "%s: no memory for its name", path);
	}
	for (char *p = copy + (copy[0] == '/'); rc == 0 && *p != '\0'; p++) {
		if (*p != '/' || p[-1] == '/') {
			continue;
		}
		*p = '\0';
		rc = make_folder(copy, mode, err);
		*p = '/';
	}
	if (rc == 0) {
		rc = make_folder(copy, mode, err);
	}
	free(copy);
	return rc;
}

static int remove_entry(int folder, const char *name, dev_t device, int depth, struct cwb_err *err);

static int remove_entries(int folder, DIR *dir, dev_t device, int depth, struct cwb_err *err)
{
	for (;;) {
		errno = 0;
		const struct dirent *entry = readdir(dir);
		if (entry == NULL) {
			return errno == 0 ? 0
					  : cwb_err_errno(err,
						    "cannot list a folder that is being removed");
		}
		if (strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0) {
			continue;
		}
		int rc = remove_entry(folder, entry->d_name, device, depth + 1, err);
		if (rc < 0) {
			return rc;
		}
	}
}

static int remove_folder(int folder, const char *name, dev_t device, int depth, struct cwb_err *err)
{
	if (depth > DEEPEST) {
		return cwb_err_set(err, CWP_ELIMIT,
			"%s: stands more than %d folders deep; remove it by hand", name, DEEPEST);
	}
	/* O_NOFOLLOW: the name may have become a link since it was looked at. */
	int fd = openat(folder, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	if (fd < 0) {
		return cwb_err_errno(err, "%s: cannot open to remove it", name);
	}
	DIR *dir = fdopendir(fd);
	if (dir == NULL) {
		int rc = cwb_err_errno(err, "%s: cannot list to remove it", name);
		close(fd);
		return rc;
	}
	int rc = remove_entries(fd, dir, device, depth, err);
	closedir(dir);
	if (rc == 0 && unlinkat(folder, name, AT_REMOVEDIR) < 0 && errno != ENOENT) {
		rc = cwb_err_errno(err, "%s: cannot remove", name);
	}
	return rc;
}

static int remove_entry(int folder, const char *name, dev_t device, int depth, struct cwb_err *err)
{
	struct stat st;

	if (fstatat(folder, name, &st, AT_SYMLINK_NOFOLLOW) < 0) {
		return errno == ENOENT
			       ? 0
			       : cwb_err_errno(err, "%s: cannot inspect to remove it", name);
	}
	if (S_ISDIR(st.st_mode)) {
		if (depth > 0 && st.st_dev != device) {
			return cwb_err_set(err, -EBUSY,
				"%s: is a mount point; unmount it before removing", name);
		}
		return remove_folder(folder, name, st.st_dev, depth, err);
	}
	if (unlinkat(folder, name, 0) < 0 && errno != ENOENT) {
		return cwb_err_errno(err, "%s: cannot remove", name);
	}
	return 0;
}

int cwb_file_remove_tree(int folder, const char *name, struct cwb_err *err)
{
	if (name[0] == '\0' || strcmp(name, ".") == 0 || strcmp(name, "..") == 0) {
		return cwb_err_set(err, CWP_EVALUE, "\"%s\": not a name that can be removed", name);
	}
	return remove_entry(folder, name, 0, 0, err);
}

int cwb_file_remove_matching(int folder, int (*wanted)(const char *name), const char *what, struct cwb_err *err)
{
	int fd = openat(folder, ".", O_DIRECTORY | O_RDONLY | O_CLOEXEC), rc = 0;
	DIR *dir = fd >= 0 ? fdopendir(fd) : NULL;
	const struct dirent *e;

	if (dir == NULL) {
		rc = cwb_err_errno(err, "%s: cannot be read", what);
		if (fd >= 0) {
			(void)close(fd);
		}
		return rc;
	}
	while (rc == 0 && (e = readdir(dir)) != NULL) {
		if (strcmp(e->d_name, ".") != 0 && strcmp(e->d_name, "..") != 0 && wanted(e->d_name)) {
			rc = cwb_file_remove_tree(folder, e->d_name, err);
		}
	}
	(void)closedir(dir);
	return rc;
}
