/*
 * Prometheus samples of several processes made one text: samples of one series added up (or the
 * greatest taken), grouped by metric, with help and type from base/metrics.def.
 *
 * Source: the text exposition format of Prometheus, version 0.0.4.
 */
#ifndef GATEHOUSE_ADMIN_SAMPLES_H
#define GATEHOUSE_ADMIN_SAMPLES_H

#include "buf.h"

/* Series kept in all; further ones are dropped and counted. */
#define SAMPLES_SERIES_MAX 100000u
#define SAMPLES_LINE_MAX 4096u

struct samples;

struct samples *samples_new(void);
void samples_free(struct samples *samples);

/* Lines "name{labels} value"; others are skipped. -ERR_NO_MEMORY. */
int samples_add(struct samples *samples, struct span text);
/* All of it. 0 or the buffer's error. */
int samples_write(struct samples *samples, struct buf *out);

/* The value of a series, exactly as written ("name{a=\"b\"}"), or fallback. */
double samples_get(const struct samples *samples, const char *series, double fallback);

#endif
