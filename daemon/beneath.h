/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* Opens what lies beneath a folder, and nothing else. */
#pragma once

/* rest: relative to root, "." for root itself. links: symbolic links are followed, as long as they
 * stay beneath root; where root is "/", absolute ones do too. The handle is good for fstat and as a
 * place (O_PATH); the caller closes it. -1 with errno: EXDEV where the way leaves root, ELOOP at a
 * link that may not be followed or after 40 of them. Blocks on the file system. [any-thread]
 *
 * The system's own call for this, openat2, is not allowed in the service: RestrictSUIDSGID of its
 * unit refuses it, since a filter cannot see the mode of the file that it may make. */
int cwd_beneath_open(const char *root, const char *rest, int links);
