// A host in Node whose server, with all that the server starts, ends when the host does, SIGKILL included.
//
//     node host.js SHIM fd|stdin SERVER [ARG...]

const { spawn } = require('node:child_process');
const { createInterface } = require('node:readline');

const [shim, watch, ...server] = process.argv.slice(2);

// The lifetime hangs on the server's standard input, or on a pipe of its own, which is descriptor 3 of the shim. This
// process alone has the other end: Node makes it close-on-exec. The server does not get descriptor 3.
const stdio = ['pipe', 'pipe', 'inherit'];
if (watch === 'fd') {
  stdio.push('pipe');
}
const option = watch === 'fd' ? '--watch=fd:3' : '--watch=stdin';
const child = spawn(shim, [option, '--stop-timeout=2s', '--', ...server], { stdio });
child.on('exit', (code, signal) => process.exit(signal ? 1 : code));

createInterface({ input: child.stdout }).on('line', (line) => {
  console.log(JSON.parse(line).result);
});
const request = { jsonrpc: '2.0', id: 1, method: 'echo', params: 'hello' };
child.stdin.write(`${JSON.stringify(request)}\n`);
