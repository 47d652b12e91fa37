// excused: what the document names and nothing from outside can bring about in reason.
export const excused = [[/ 500$| internal$/, 'a bug, or libcrypto without memory']];
