/* rfc3339: the proleptic Gregorian calendar by whole-number arithmetic, without libc's time zones. Years run
 * from March, so that the leap day is a year's last; 400 of them are 146097 days. */
#include "util/rfc3339.h"

#include <assert.h>

enum { DAY_MS = 86400000, ERA_DAYS = 146097, EPOCH_DAYS = 719468 /* from 0000-03-01 to 1970-01-01 */ };

static const int64_t ms_min = INT64_C(-62167219200000); /* 0000-01-01T00:00:00Z */
static const int64_t ms_max = INT64_C(253402300799999); /* 9999-12-31T23:59:59.999Z */

static int64_t days_of(int year, int month, int day)
{
    int y = month <= 2 ? year - 1 : year;
    int era = (y >= 0 ? y : y - 399) / 400;
    int year_of_era = y - era * 400;
    int day_of_year = (153 * (month > 2 ? month - 3 : month + 9) + 2) / 5 + day - 1;
    int day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
    return (int64_t)era * ERA_DAYS + day_of_era - EPOCH_DAYS;
}

static void put_digits(char *out, int count, int value)
{
    for (int i = count; i-- > 0; value /= 10)
        out[i] = (char)('0' + value % 10);
}

void rfc3339_format(int64_t ms, char out[RFC3339_SIZE])
{
    assert(ms >= ms_min && ms <= ms_max);
    int64_t days = (ms >= 0 ? ms : ms - (DAY_MS - 1)) / DAY_MS;
    int in_day = (int)(ms - days * DAY_MS);
    int64_t shifted = days + EPOCH_DAYS;
    int era = (int)((shifted >= 0 ? shifted : shifted - (ERA_DAYS - 1)) / ERA_DAYS);
    int day_of_era = (int)(shifted - (int64_t)era * ERA_DAYS);
    int year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36524 - day_of_era / 146096) / 365;
    int day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    int from_march = (5 * day_of_year + 2) / 153;
    int month = from_march < 10 ? from_march + 3 : from_march - 9;
    int year = year_of_era + era * 400 + (month <= 2 ? 1 : 0);

    memcpy(out, "0000-00-00T00:00:00.000Z", RFC3339_SIZE);
    put_digits(out, 4, year);
    put_digits(out + 5, 2, month);
    put_digits(out + 8, 2, day_of_year - (153 * from_march + 2) / 5 + 1);
    put_digits(out + 11, 2, in_day / 3600000);
    put_digits(out + 14, 2, in_day / 60000 % 60);
    put_digits(out + 17, 2, in_day / 1000 % 60);
    put_digits(out + 20, 3, in_day % 1000);
}

/* Reads exactly `count` digits and moves on. */
static bool take_digits(struct slice *rest, int count, int *out_value)
{
    int value = 0;
    if (rest->len < (size_t)count) return false;
    for (int i = 0; i < count; i++) {
        char c = rest->ptr[i];
        if (c < '0' || c > '9') return false;
        value = value * 10 + (c - '0');
    }
    rest->ptr += count;
    rest->len -= (size_t)count;
    *out_value = value;
    return true;
}

/* Reads one of the two bytes and moves on. */
static bool take(struct slice *rest, char one, char other)
{
    if (rest->len == 0 || (rest->ptr[0] != one && rest->ptr[0] != other)) return false;
    rest->ptr++;
    rest->len--;
    return true;
}

static bool take_date(struct slice *rest, int64_t *out_days)
{
    static const int month_days[] = {31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31};
    int year;
    int month;
    int day;
    if (!take_digits(rest, 4, &year) || !take(rest, '-', '-') || !take_digits(rest, 2, &month) ||
        !take(rest, '-', '-') || !take_digits(rest, 2, &day))
        return false;
    if (month < 1 || month > 12) return false;
    bool leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    if (day < 1 || day > month_days[month - 1] + (month == 2 && leap ? 1 : 0)) return false;
    *out_days = days_of(year, month, day);
    return true;
}

/* Reads a fraction if there is one. */
static bool take_fraction(struct slice *rest, int *out_ms)
{
    int scale = 100;
    *out_ms = 0;
    if (!take(rest, '.', '.')) return true;
    int digit;
    if (!take_digits(rest, 1, &digit)) return false;
    do {
        *out_ms += digit * scale;
        scale /= 10;
    } while (take_digits(rest, 1, &digit));
    return true;
}

static bool take_offset(struct slice *rest, int *out_minutes)
{
    *out_minutes = 0;
    if (take(rest, 'Z', 'z')) return true;
    bool west = rest->len > 0 && rest->ptr[0] == '-';
    int hours;
    int minutes;
    if (!take(rest, '+', '-') || !take_digits(rest, 2, &hours) || !take(rest, ':', ':') ||
        !take_digits(rest, 2, &minutes) || hours > 23 || minutes > 59)
        return false;
    *out_minutes = (hours * 60 + minutes) * (west ? -1 : 1);
    return true;
}

bool rfc3339_parse(struct slice text, int64_t *out_ms)
{
    int64_t days;
    int hour;
    int minute;
    int second;
    int fraction_ms;
    int offset;
    if (!take_date(&text, &days) || !take(&text, 'T', 't') || !take_digits(&text, 2, &hour) ||
        !take(&text, ':', ':') || !take_digits(&text, 2, &minute) || !take(&text, ':', ':') ||
        !take_digits(&text, 2, &second) || !take_fraction(&text, &fraction_ms) ||
        !take_offset(&text, &offset))
        return false;
    if (text.len != 0 || hour > 23 || minute > 59 || second > 60) return false;
    bool leap_second = second == 60;
    if (leap_second) second = 59;
    int64_t minutes = days * 1440 + (int64_t)hour * 60 + minute - offset;
    /* A leap second ends a day in UTC, whatever the local time. */
    if (leap_second && (minutes + 1) % 1440 != 0) return false;
    int64_t ms = minutes * 60000 + (int64_t)second * 1000 + fraction_ms;
    if (ms < ms_min || ms > ms_max) return false;
    *out_ms = ms;
    return true;
}
