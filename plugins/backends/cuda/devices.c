/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* Choice of a device by its UUID, by its number, or the first one that can be used. */
#include <stdio.h>
#include <string.h>
#include <strings.h>

#include <cwp/error.h>

#include "plugins/backends/cuda/devices.h"

enum { MOST_LISTED = 8 };

void cuda_uuid_text(const unsigned char uuid[16], char ret[CUDA_UUID_TEXT])
{
	static const char digit[] = "0123456789abcdef";
	size_t at = 4;
	memcpy(ret, "GPU-", 4);
	for (size_t i = 0; i < 16; i++) {
		if (i == 4 || i == 6 || i == 8 || i == 10) {
			ret[at++] = '-';
		}
		ret[at++] = digit[uuid[i] >> 4];
		ret[at++] = digit[uuid[i] & 15U];
	}
	ret[at] = '\0';
}

int cuda_device_usable(const struct cuda_device_entry *d, size_t index, char *text, size_t size)
{
	if (d->capability < CUDA_LEAST_CAPABILITY) {
		snprintf(text, size,
			"device %zu (%s, %s) has compute capability %d.%d, but at least 8.0 is needed (Ampere or newer): choose "
			"another device or the backend cpu",
			index, d->name, d->uuid, d->capability / 10, d->capability % 10);
		return CWP_EMISSING;
	}
	if (d->mode == CUDA_PROHIBITED) {
		snprintf(text, size,
			"device %zu (%s, %s) is in the compute mode \"prohibited\": choose another device, or let the "
			"administrator run nvidia-smi -c DEFAULT",
			index, d->name, d->uuid);
		return CWP_EMISSING;
	}
	return 0;
}

/* "0: GPU-... (name), 1: ..." behind what is in text already. */
static void list(const struct cuda_device_entry *d, size_t n, char *text, size_t size)
{
	for (size_t i = 0; i < n; i++) {
		size_t used = strlen(text);
		if (i == MOST_LISTED) {
			snprintf(text + used, size - used, " and %zu more", n - i);
			return;
		}
		snprintf(text + used, size - used, "%s %zu: %s (%s)", i > 0 ? "," : "", i, d[i].uuid, d[i].name);
	}
}

static int first_usable(const struct cuda_device_entry *d, size_t n, size_t *ret, char *text, size_t size)
{
	int rc = CWP_EMISSING;
	snprintf(text, size, "this machine has no CUDA device that this process may use (nvidia-smi -L lists those of the driver, "
		"CUDA_VISIBLE_DEVICES those of a process, /dev/nvidia0 must be there): choose the backend cpu");
	/* Where none can be used, the first one's reason stands. */
	for (size_t i = n; rc && i-- > 0;) {
		rc = cuda_device_usable(&d[i], i, text, size);
	}
	for (size_t i = 0; !rc && i < n; i++) {
		if (cuda_device_usable(&d[i], i, text, size) == 0) {
			*ret = i;
			break;
		}
	}
	return rc;
}

static int is_number(const char *want)
{
	size_t length = strspn(want, "0123456789");
	return length > 0 && length <= 4 && want[length] == '\0';
}

static int by_number(const struct cuda_device_entry *d, size_t n, const char *want, size_t *ret, char *text, size_t size)
{
	size_t number = 0;
	for (const char *p = want; *p != '\0'; p++) {
		number = number * 10 + (size_t)(*p - '0');
	}
	if (number < n) {
		*ret = number;
		return cuda_device_usable(&d[number], number, text, size);
	}
	snprintf(text, size, "there is no device %zu: there %s", number, n == 1 ? "is" : "are");
	list(d, n, text, size);
	return CWP_EMISSING;
}

static int by_uuid(const struct cuda_device_entry *d, size_t n, const char *want, size_t *ret, char *text, size_t size)
{
	size_t length = strlen(want), found = 0;
	for (size_t i = 0; i < n; i++) {
		/* The prefix alone names nothing. */
		if (length > 4 && strncasecmp(d[i].uuid, want, length) == 0) {
			*ret = i;
			found++;
		}
	}
	if (found == 1) {
		return cuda_device_usable(&d[*ret], *ret, text, size);
	}
	snprintf(text, size, "%s device \"%.64s\": there %s", found == 0 ? "there is no" : "more than one device begins with the UUID of",
		want, n == 1 ? "is" : "are");
	list(d, n, text, size);
	return CWP_EMISSING;
}

int cuda_device_choose(const struct cuda_device_entry *d, size_t n, const char *want, size_t *ret, char *text, size_t size)
{
	if (n == 0 || !want) {
		return first_usable(d, n, ret, text, size);
	}
	return is_number(want) ? by_number(d, n, want, ret, text, size) : by_uuid(d, n, want, ret, text, size);
}
