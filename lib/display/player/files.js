// Downloads: .mid and .mp3 are in the page, a .wav is made of the sound by the browser's own decoder.

const DECODER_DELAY = 576 + 529;  // samples that a decoder leaves in front which does not read LAME's header

const fileName = (take, ending) =>
  (take.name === music.title ? take.name : `${music.title} - ${take.name}`).replace(/[\\/:*?"<>|\u0000-\u001f]+/g, "_").slice(0, 120) + ending;

function save(blob, name) {
  download(blob, name);
  say(`Saving ${name}`);
}

const saveMidi = take => save(new Blob([bytesOf(take.midi)], { type: "audio/midi" }), fileName(take, ".mid"));
const saveMp3 = take => save(blobOf(take.sound), fileName(take, ".mp3"));

async function saveWav(take) {
  try {
    save(await wavOf(take), fileName(take, ".wav"));
  } catch {
    say("This browser can't decode the sound.");
  }
}

async function wavOf(take) {
  const decoder = new OfflineAudioContext(2, 1, take.rate);
  const sound = await decoder.decodeAudioData(await blobOf(take.sound).arrayBuffer());
  const first = sound.length - take.samples >= DECODER_DELAY ? DECODER_DELAY : 0;
  const channels = Array.from({ length: sound.numberOfChannels }, (_, c) => sound.getChannelData(c).subarray(first, first + take.samples));
  return new Blob([wavHeader(channels.length, channels[0].length, take.rate), pcmOf(channels)], { type: "audio/wav" });
}

function pcmOf(channels) {  // a plain loop: there are millions of them
  const count = channels.length, pcm = new Int16Array(channels[0].length * count);  // little-endian, as every browser's machine
  for (let c = 0; c < count; c++) {
    const samples = channels[c];
    for (let at = 0; at < samples.length; at++) pcm[at * count + c] = Math.max(-1, Math.min(1, samples[at])) * 32767;
  }
  return pcm;
}

function wavHeader(channels, samples, rate) {
  const head = new DataView(new ArrayBuffer(44)), bytes = samples * channels * 2;
  const put = (at, text) => [...text].forEach((letter, i) => head.setUint8(at + i, letter.charCodeAt(0)));
  put(0, "RIFF");
  head.setUint32(4, 36 + bytes, true);
  put(8, "WAVEfmt ");
  head.setUint32(16, 16, true);
  head.setUint16(20, 1, true);  // PCM
  head.setUint16(22, channels, true);
  head.setUint32(24, rate, true);
  head.setUint32(28, rate * channels * 2, true);
  head.setUint16(32, channels * 2, true);
  head.setUint16(34, 16, true);
  put(36, "data");
  head.setUint32(40, bytes, true);
  return head;
}
