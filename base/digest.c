/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* SHA-256 through libcrypto's EVP interface, which picks the fastest code of the machine. */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <openssl/evp.h>

#include "base/digest.h"

enum { PIECE = 1 << 20 };

int cwb_digest_begin(struct cwb_digest *d)
{
	d->failed = 0;
	d->ctx = EVP_MD_CTX_new();
	if (d->ctx == NULL) {
		return -ENOMEM;
	}
	if (EVP_DigestInit_ex(d->ctx, EVP_sha256(), NULL) != 1) {
		cwb_digest_cancel(d);
		return -ENOMEM;
	}
	return 0;
}

void cwb_digest_update(struct cwb_digest *d, const void *data, size_t length)
{
	if (length > 0 && (d->ctx == NULL || EVP_DigestUpdate(d->ctx, data, length) != 1)) {
		d->failed = 1;
	}
}

int cwb_digest_end(struct cwb_digest *d, uint8_t ret[CWB_DIGEST_SIZE])
{
	uint8_t digest[EVP_MAX_MD_SIZE];
	int ok = d->ctx != NULL && !d->failed && EVP_DigestFinal_ex(d->ctx, digest, NULL) == 1;

	cwb_digest_cancel(d);
	if (!ok) {
		return -ENOMEM;
	}
	memcpy(ret, digest, CWB_DIGEST_SIZE);
	return 0;
}

int cwb_digest_end_hex(struct cwb_digest *d, char ret_hex[CWB_DIGEST_HEX])
{
	uint8_t digest[CWB_DIGEST_SIZE];
	int rc = cwb_digest_end(d, digest);

	if (rc == 0) {
		cwb_digest_hex(digest, ret_hex);
	}
	return rc;
}

void cwb_digest_cancel(struct cwb_digest *d)
{
	EVP_MD_CTX_free(d->ctx);
	d->ctx = NULL;
}

void cwb_digest_hex(const uint8_t digest[CWB_DIGEST_SIZE], char ret_hex[CWB_DIGEST_HEX])
{
	static const char digits[] = "0123456789abcdef";

	for (size_t i = 0; i < CWB_DIGEST_SIZE; i++) {
		ret_hex[2 * i] = digits[digest[i] >> 4];
		ret_hex[2 * i + 1] = digits[digest[i] & 15];
	}
	ret_hex[2 * CWB_DIGEST_SIZE] = '\0';
}

int cwb_digest_is_hex(const char *text)
{
	return strlen(text) == CWB_DIGEST_HEX - 1 &&
	       strspn(text, "0123456789abcdef") == CWB_DIGEST_HEX - 1;
}

int cwb_digest_buffer(const void *data, size_t length, char ret_hex[CWB_DIGEST_HEX])
{
	struct cwb_digest d;
	int rc = cwb_digest_begin(&d);

	if (rc < 0) {
		return rc;
	}
	cwb_digest_update(&d, data, length);
	return cwb_digest_end_hex(&d, ret_hex);
}

static int digest_pieces(int fd, const char *path, struct cwb_digest *d,
	int (*cancelled)(void *arg), void *arg, uint64_t *ret_size, struct cwb_err *err)
{
	uint64_t offset = 0;
	int rc = 0;
	char *piece = malloc(PIECE);

	if (piece == NULL) {
		return cwb_err_set(err, -ENOMEM, "%s: no memory to read it", path);
	}
	for (;;) {
		if (cancelled != NULL && cancelled(arg)) {
			rc = cwb_err_set(err, CWP_ECANCELLED,
				"%s: cancelled while its digest was computed", path);
			break;
		}
		ssize_t n = pread(fd, piece, PIECE, (off_t)offset);
		if (n < 0 && errno == EINTR) {
			continue;
		}
		if (n < 0) {
			rc = cwb_err_errno(err, "%s: cannot read", path);
			break;
		}
		if (n == 0) {
			*ret_size = offset;
			break;
		}
		cwb_digest_update(d, piece, (size_t)n);
		offset += (uint64_t)n;
	}
	free(piece);
	return rc;
}

int cwb_digest_fd(int fd, const char *path, int (*cancelled)(void *arg), void *arg,
	char ret_hex[CWB_DIGEST_HEX], uint64_t *ret_size, struct cwb_err *err)
{
	struct cwb_digest d;
	uint64_t size = 0;

	if (cwb_digest_begin(&d) < 0) {
		return cwb_err_set(err, -ENOMEM, "%s: no memory for its digest", path);
	}
	int rc = digest_pieces(fd, path, &d, cancelled, arg, &size, err);
	if (rc == 0 && cwb_digest_end_hex(&d, ret_hex) < 0) {
		rc = cwb_err_set(err, -ENOMEM, "%s: no memory for its digest", path);
	}
	cwb_digest_cancel(&d);
	if (rc == 0 && ret_size != NULL) {
		*ret_size = size;
	}
	return rc;
}

int cwb_digest_file(
	const char *path, char ret_hex[CWB_DIGEST_HEX], uint64_t *ret_size, struct cwb_err *err)
{
	struct stat st;
	int rc;
	/* O_NONBLOCK: opening a fifo must not wait for a writer; regular files ignore it. */
	int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);

	if (fd < 0) {
		return cwb_err_errno(err, "%s: cannot open", path);
	}
	if (fstat(fd, &st) < 0) {
		rc = cwb_err_errno(err, "%s: cannot inspect", path);
	} else if (!S_ISREG(st.st_mode)) {
		rc = cwb_err_set(err, CWP_EFORMAT, "%s: is not a regular file", path);
	} else {
		rc = cwb_digest_fd(fd, path, NULL, NULL, ret_hex, ret_size, err);
	}
	close(fd);
	return rc;
}
