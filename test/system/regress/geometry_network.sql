-- modes: session transaction
SELECT point(1, 2) <-> point(4, 6), box '(0,0),(2,2)' && box '(1,1),(3,3)', circle '<(0,0),2>' @> point(1, 1), area(circle '<(0,0),1>') > 3.14;
SELECT polygon '((0,0),(0,4),(4,4),(4,0))' @> point(2, 2), path '[(0,0),(3,4)]', length(path '[(0,0),(3,4)]'), lseg '[(0,0),(1,1)]' ?# lseg '[(0,1),(1,0)]';
SELECT point '(1,x)';
SELECT inet '192.168.1.5/24', network(inet '192.168.1.5/24'), host(inet '::1/128'), masklen('10.0.0.0/8'), inet '10.1.2.3' << cidr '10.0.0.0/8';
SELECT cidr '192.168.1.5/24';
SELECT macaddr '08:00:2b:01:02:03', macaddr8_set7bit('00-34-56-78-9A-BC-DE-F0'), inet '1.2.3.4' + 300, broadcast(inet '10.0.0.1/30');
SELECT 'not an address'::inet;
SELECT B'1010' & B'0110', B'101'::bit(6), 44::bit(10), bit_length(B'101'), B'1' || B'0';
SELECT uuid 'A0EEBC99-9C0B-4EF8-BB6D-6BB9BD380A11', 'junk'::uuid;
SELECT '12.34'::money + '1'::money > '13'::money AS money_adds;
SELECT '<a><b>x</b></a>'::xml IS DOCUMENT AS is_document;
