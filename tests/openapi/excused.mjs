// excused: what the document names and nothing from outside can bring about in reason.
export const excused = [
    [/ 500$|\binternal\b/, 'a bug, or libcrypto without memory'],
    [/livez 503 stalled/, 'a loop that stands still for 10 s while another one answers: tests/unit/app/test_watchdog.c'],
];
