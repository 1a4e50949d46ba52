// What all pages use.
const byId = id => document.getElementById(id);
const valuesOf = id => JSON.parse(byId(id).textContent);  // of a <script type="application/json">

function bytesOf(base64) {  // a plain loop: there are millions of them
  const text = atob(base64), bytes = new Uint8Array(text.length);
  for (let at = 0; at < text.length; at++) bytes[at] = text.charCodeAt(at);
  return bytes;
}

function blobOf(dataUrl) {
  const [, type, base64] = dataUrl.match(/^data:([^;]+);base64,(.*)$/s);
  return new Blob([bytesOf(base64)], { type });
}

function download(blob, name) {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(blob);
  link.download = name;
  link.hidden = true;
  document.body.append(link);
  link.click();
  link.remove();
  setTimeout(() => URL.revokeObjectURL(link.href), 60000);
}
