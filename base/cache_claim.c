/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* Who makes an entry: one byte of one file is locked for each key, so that nothing has to be cleaned up. */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/cache.h"

#define FILE_NAME ".making"
#define DIGITS 15 /* of a key: 60 bits; that two keys share them does no harm */

int cwb_cache_claim(struct cwb_cache *c, const char *key, int *ret_fd, struct cwb_err *err)
{
	char digits[DIGITS + 1];
	memcpy(digits, key, DIGITS);
	digits[DIGITS] = '\0';
	struct flock lock = {.l_type = F_WRLCK, .l_whence = SEEK_SET, .l_start = (off_t)strtoull(digits, NULL, 16), .l_len = 1};
	int fd = openat(c->folder, FILE_NAME, O_RDWR | O_CREAT | O_NOFOLLOW | O_CLOEXEC, 0600);
	if (fd < 0) {
		return cwb_err_errno(err, "cache: " FILE_NAME);
	}
	/* Of the open file: it ends with the descriptor, or the process. */
	if (fcntl(fd, F_OFD_SETLK, &lock) != 0) {
		int r = errno == EAGAIN || errno == EACCES ? -EAGAIN : -errno;
		(void)close(fd);
		return cwb_err_set(err, r, "cache: " FILE_NAME " cannot be locked");
	}
	*ret_fd = fd;
	return 0;
}
