/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* Lists of processors. */
#include "base/cpus.h"

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cwp/error.h>

#include "base/file.h"

#define NO_NODE UINT16_MAX
#define LIST_BYTES ((size_t)64 << 10) /* of a file: several times the longest list */

/* Digits up to another character; 0 when they are a number below CPU_SETSIZE. */
static int take_number(const char **text, unsigned *ret)
{
	const char *p = *text;
	unsigned n = 0;

	for (; *p >= '0' && *p <= '9' && n < CPU_SETSIZE; p++) {
		n = 10 * n + (unsigned)(*p - '0');
	}
	if (p == *text || n >= CPU_SETSIZE) {
		return -1;
	}
	*text = p;
	*ret = n;
	return 0;
}

/* One number or range; 0 when it is one. */
static int take_range(const char **text, cpu_set_t *cpus)
{
	unsigned first, last;

	if (take_number(text, &first) != 0) {
		return -1;
	}
	last = first;
	if (**text == '-') {
		(*text)++;
		if (take_number(text, &last) != 0 || last < first) {
			return -1;
		}
	}
	for (unsigned i = first; i <= last; i++) {
		CPU_SET(i, cpus);
	}
	return 0;
}

int cwb_cpus_parse(const char *text, cpu_set_t *ret, struct cwb_err *err)
{
	const char *p = text;
	cpu_set_t cpus;

	CPU_ZERO(&cpus);
	for (;;) {
		if (take_range(&p, &cpus) != 0 || (*p != ',' && *p != '\0')) {
			return cwb_err_set(err, CWP_EVALUE,
				"\"%.100s\" is no list of processors: write numbers up to %d and ascending ranges, such as 0-7,16-23",
				text, CPU_SETSIZE - 1);
		}
		if (*p == '\0') {
			*ret = cpus;
			return 0;
		}
		p++;
	}
}

void cwb_cpus_print(const cpu_set_t *cpus, char ret[CWB_CPUS_TEXT])
{
	size_t length = 0;
	unsigned i = 0, last;

	ret[0] = '\0';
	for (; i < CPU_SETSIZE; i = last + 1) {
		last = i;
		if (!CPU_ISSET(i, cpus)) {
			continue;
		}
		while (last + 1 < CPU_SETSIZE && CPU_ISSET(last + 1, cpus)) {
			last++;
		}
		length += (size_t)snprintf(ret + length, CWB_CPUS_TEXT - length, "%s%u", length > 0 ? "," : "", i);
		if (last > i) {
			length += (size_t)snprintf(ret + length, CWB_CPUS_TEXT - length, "-%u", last);
		}
	}
}

int cwb_cpus_read(const char *path, cpu_set_t *ret)
{
	char *text = NULL;
	size_t length = 0;
	int rc = cwb_file_read(path, LIST_BYTES, &text, &length, NULL);

	if (rc != 0) {
		return rc;
	}
	if (length > 0 && text[length - 1] == '\n') {
		text[--length] = '\0';
	}
	if (strlen(text) != length) {
		rc = CWP_EVALUE;
	} else if (length == 0) {
		CPU_ZERO(ret);
	} else {
		rc = cwb_cpus_parse(text, ret, NULL);
	}
	free(text);
	return rc;
}

/* node<N>, without leading zeros: 0 when the name is that of a node. */
static int node_number(const char *name, unsigned *ret)
{
	const char *p = name + 4;

	return strncmp(name, "node", 4) == 0 && (p[0] != '0' || p[1] == '\0') && take_number(&p, ret) == 0 && *p == '\0' ? 0 : -1;
}

static void note_node(const char *root, unsigned node, uint16_t ret_node[CPU_SETSIZE])
{
	cpu_set_t cpus;
	char *path;

	if (asprintf(&path, "%s/node/node%u/cpulist", root, node) < 0) {
		return;
	}
	if (cwb_cpus_read(path, &cpus) == 0) {
		for (unsigned i = 0; i < CPU_SETSIZE; i++) {
			if (CPU_ISSET(i, &cpus) && node < ret_node[i]) {
				ret_node[i] = (uint16_t)node;
			}
		}
	}
	free(path);
}

void cwb_cpus_nodes(const char *root, uint16_t ret_node[CPU_SETSIZE])
{
	const struct dirent *entry;
	unsigned node;
	char *path = NULL;
	DIR *folder;

	for (unsigned i = 0; i < CPU_SETSIZE; i++) {
		ret_node[i] = NO_NODE;
	}
	if (asprintf(&path, "%s/node", root) < 0) {
		path = NULL;
	}
	folder = path != NULL ? opendir(path) : NULL;
	free(path);
	if (folder != NULL) {
		while ((entry = readdir(folder)) != NULL) {
			if (node_number(entry->d_name, &node) == 0) {
				note_node(root, node, ret_node);
			}
		}
		closedir(folder);
	}
	for (unsigned i = 0; i < CPU_SETSIZE; i++) {
		ret_node[i] = ret_node[i] == NO_NODE ? 0 : ret_node[i];
	}
}
