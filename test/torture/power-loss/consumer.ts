/** A consumer as a process of its own, so that what it removes is traced with what the daemon does. */
import { startConsumer } from '../../dovecot/consumer.ts';

startConsumer(process.argv[2]!);
