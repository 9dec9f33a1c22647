// A host in Node whose server, with all that the server starts, ends when the host does, SIGKILL included.
//
//     node host.js SHIM SERVER [ARG...]

const { spawn } = require('node:child_process');
const { createInterface } = require('node:readline');

const [shim, ...server] = process.argv.slice(2);

// The lifetime hangs on the server's standard input, of which this process alone has the other end.
const child = spawn(shim, ['--watch=stdin', '--', ...server], {
  stdio: ['pipe', 'pipe', 'inherit'],
});
child.on('exit', (code, signal) => process.exit(signal ? 1 : code));

createInterface({ input: child.stdout }).on('line', (line) => {
  console.log(JSON.parse(line).result);
});
const request = { jsonrpc: '2.0', id: 1, method: 'echo', params: 'hello' };
child.stdin.write(`${JSON.stringify(request)}\n`);
